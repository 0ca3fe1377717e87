//! Python pickles as plain data. Nothing is imported and nothing is run: a global is kept as its name, and of calls only those
//! that rebuild tensors and dictionaries are understood; the rest stays opaque.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What a pickle holds, as far as state dictionaries need it.
#[derive(Clone, Debug)]
enum Value {
    None,
    Int(i64),
    Str(Rc<str>),
    /// `module.name`
    Global(Rc<str>),
    Tuple(Rc<[Value]>),
    List(Rc<RefCell<Vec<Value>>>),
    /// A dictionary, or an object with what was set on it.
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    Storage(Arc<Storage>),
    Tensor(Arc<TensorRef>),
    /// Anything else: floats, bytes, objects of classes that are not known.
    Opaque,
}

/// `('storage', torch.FloatStorage, '0', 'cpu', 1024)`
#[derive(Debug, PartialEq)]
pub struct Storage {
    /// Such as `FloatStorage`.
    pub class: String,
    /// The name of its file in the archive.
    pub key: String,
}

/// A view into a storage, in elements.
#[derive(Debug, PartialEq)]
pub struct TensorRef {
    pub storage: Arc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle may not pass, so that a hostile one ends soon: values made, and levels of them.
const MOST_VALUES: usize = 4_000_000;
const MOST_LEVELS: usize = 64;

type Parsed<T> = Result<T, String>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    made: usize,
    held: Held, // dropped last
}

/// What holds other values, in the order in which it was made. It is let go from here one by one: a value that frees those in it, which
/// free those in them, would take a stack as deep as the pickle nests.
#[derive(Default)]
struct Held(Vec<Value>);

impl Drop for Held {
    fn drop(&mut self) {
        for value in &self.0 {
            match value {
                Value::List(list) => list.borrow_mut().clear(),
                Value::Dict(dict) => dict.borrow_mut().clear(),
                _ => {}
            }
        }
        while self.0.pop().is_some() {} // what a tuple is made of was there before it
    }
}

/// Reads a pickle of protocol 2 to 5, and gives its value to `f`.
fn read<T>(bytes: &[u8], f: impl FnOnce(&Value) -> Parsed<T>) -> Parsed<T> {
    let (stack, marks, memo, held) = Default::default();
    let mut reader = Reader { bytes, at: 0, stack, marks, memo, made: 0, held };
    loop {
        if let Some(value) = reader.step()? {
            return f(&value);
        }
        reader.made(1)?;
    }
}

impl Reader<'_> {
    fn made(&mut self, values: usize) -> Parsed<()> {
        self.made += values;
        if self.made > MOST_VALUES { Err(format!("its pickle has more than {MOST_VALUES} steps")) } else { Ok(()) }
    }

    fn take(&mut self, n: usize) -> Parsed<&[u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len()).ok_or("its pickle is cut short")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Parsed<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of `n` bytes.
    fn number(&mut self, n: usize) -> Parsed<usize> {
        let bytes = self.take(n)?;
        let mut whole = [0; 8];
        whole[..n].copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(whole)).map_err(|_| "its pickle has a length above this machine's".into())
    }

    fn line(&mut self) -> Parsed<String> {
        let length = self.bytes[self.at..].iter().position(|&b| b == b'\n').ok_or("its pickle is cut short")?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, n: usize) -> Parsed<Value> {
        let length = self.number(n)?;
        Ok(Value::Str(String::from_utf8_lossy(self.take(length)?).into()))
    }

    fn pop(&mut self) -> Parsed<Value> {
        self.stack.pop().ok_or_else(|| "its pickle takes from an empty stack".into())
    }

    fn since_mark(&mut self) -> Parsed<Vec<Value>> {
        let mark = self.marks.pop().filter(|&m| m <= self.stack.len()).ok_or("its pickle ends a group that it never began")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, at: u32) -> Parsed<()> {
        let value = self.stack.last().cloned().ok_or("its pickle names what is not there")?;
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Parsed<Value> {
        self.memo.get(&at).cloned().ok_or_else(|| "its pickle asks for what it never named".into())
    }

    /// One opcode (`Lib/pickle.py`); the pickle's value after the last.
    fn step(&mut self) -> Parsed<Option<Value>> {
        let value = match self.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => return self.take(1).map(|_| None), // PROTO
            0x95 => return self.take(8).map(|_| None), // FRAME
            b'(' => {
                self.marks.push(self.stack.len()); // MARK
                return Ok(None);
            }
            b'0' => return self.pop().map(|_| None),        // POP
            b'1' => return self.since_mark().map(|_| None), // POP_MARK
            b'q' => return self.byte().and_then(|at| self.remember(at.into())).map(|()| None),
            b'r' => return self.number(4).and_then(|at| self.remember(at as u32)).map(|()| None),
            0x94 => return self.remember(self.memo.len() as u32).map(|()| None), // MEMOIZE
            b'a' | b'e' | b's' | b'u' | b'b' => return self.fill().map(|()| None),
            b'h' => self.byte().and_then(|at| self.recall(at.into()))?,
            b'j' => self.number(4).and_then(|at| self.recall(at as u32))?,
            b'N' => Value::None,
            0x88 => Value::Int(1), // True
            0x89 => Value::Int(0),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a => self.long()?,
            b'G' => self.take(8).map(|_| Value::Opaque)?, // BINFLOAT
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'U' => self.text(1)?, // SHORT_BINSTRING
            b'T' => self.text(4)?, // BINSTRING
            b'C' => self.bytes_of(1)?,
            b'B' => self.bytes_of(4)?,
            0x8e => self.bytes_of(8)?,
            0x96 => self.bytes_of(8)?, // BYTEARRAY8
            b'c' => Value::Global(format!("{}.{}", self.line()?, self.line()?).into()),
            0x93 => self.stack_global()?,
            b')' => Value::Tuple([].into()),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => Value::Tuple(self.since_mark()?.into()),
            b']' => Value::List(Rc::default()),
            b'l' => Value::List(Rc::new(RefCell::new(self.since_mark()?))),
            b'}' => Value::Dict(Rc::default()),
            b'd' => Value::Dict(Rc::new(RefCell::new(pairs(self.since_mark()?)?))),
            0x8f => Value::List(Rc::default()), // EMPTY_SET, filled by ADDITEMS
            0x90 => return self.since_mark().map(|_| None),
            b'2' => self.stack.last().cloned().ok_or("its pickle copies from an empty stack")?,
            b'Q' => persistent(&self.pop()?)?,
            b'R' | 0x81 => self.call()?, // REDUCE, NEWOBJ
            0x92 => {
                self.pop()?; // NEWOBJ_EX's keywords
                self.call()?
            }
            op => return Err(format!("its pickle has the opcode {op:#04x}, which no state dictionary needs")),
        };
        if matches!(value, Value::Tuple(_) | Value::List(_) | Value::Dict(_)) {
            self.held.0.push(value.clone());
        }
        self.stack.push(value);
        Ok(None)
    }

    fn bytes_of(&mut self, n: usize) -> Parsed<Value> {
        let length = self.number(n)?;
        self.take(length).map(|_| Value::Opaque)
    }

    /// LONG1: two's complement of a length that is said.
    fn long(&mut self) -> Parsed<Value> {
        let length = self.byte()? as usize;
        let bytes = self.take(length)?;
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut whole = [sign; 8];
        whole.iter_mut().zip(bytes).for_each(|(w, b)| *w = *b);
        Ok(if length <= 8 { Value::Int(i64::from_le_bytes(whole)) } else { Value::Opaque })
    }

    fn tuple(&mut self, n: usize) -> Parsed<Value> {
        let first = self.stack.len().checked_sub(n).ok_or("its pickle takes from an empty stack")?;
        Ok(Value::Tuple(self.stack.split_off(first).into()))
    }

    fn stack_global(&mut self) -> Parsed<Value> {
        match (self.pop()?, self.pop()?) {
            (Value::Str(name), Value::Str(module)) => Ok(Value::Global(format!("{module}.{name}").into())),
            _ => Err("its pickle names a global by what is no text".into()),
        }
    }

    /// APPEND(S), SETITEM(S) and BUILD: into the value below.
    fn fill(&mut self) -> Parsed<()> {
        let op = self.bytes[self.at - 1];
        let given = match op {
            b'a' | b'b' => vec![self.pop()?],
            b's' => match self.tuple(2)? {
                Value::Tuple(pair) => pair.to_vec(),
                _ => Vec::new(),
            },
            _ => self.since_mark()?,
        };
        let into = self.stack.last().cloned();
        match (op, &into) {
            (b'a' | b'e', Some(Value::List(list))) => list.borrow_mut().extend(given),
            (b's' | b'u', Some(Value::Dict(dict))) => dict.borrow_mut().extend(pairs(given)?),
            // An object's state, or an OrderedDict's attributes: what is a dictionary is set on it.
            (b'b', Some(Value::Dict(object))) => {
                if let Some(Value::Dict(state)) = given.first().filter(|g| !matches!(g, Value::Dict(d) if Rc::ptr_eq(d, object))) {
                    self.made(state.borrow().len())?;
                    object.borrow_mut().extend(state.borrow().iter().cloned());
                }
            }
            (_, Some(Value::Opaque)) => {}
            _ => return Err("its pickle fills what cannot be filled".into()),
        }
        Ok(())
    }

    /// A call of a global: tensors, parameters and dictionaries are understood, the rest is an object that can only be filled.
    fn call(&mut self) -> Parsed<Value> {
        let (args, function) = (self.pop()?, self.pop()?);
        let (Value::Global(name), Value::Tuple(args)) = (&function, &args) else {
            return Ok(Value::Opaque);
        };
        match (&**name, &**args) {
            ("torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor", [Value::Storage(storage), offset, shape, strides, ..]) => {
                let (offset, shape, strides) = (whole(offset)?, wholes(shape)?, wholes(strides)?);
                if shape.len() != strides.len() {
                    return Err("its pickle has a tensor with more axes than strides".into());
                }
                Ok(Value::Tensor(Arc::new(TensorRef { storage: storage.clone(), offset, shape, strides })))
            }
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [tensor, ..]) => Ok(tensor.clone()),
            _ => Ok(Value::Dict(Rc::default())),
        }
    }
}

/// A value that lies outside the pickle.
fn persistent(id: &Value) -> Parsed<Value> {
    match id {
        Value::Tuple(parts) => match &**parts {
            [Value::Str(kind), Value::Global(class), Value::Str(key), ..] if &**kind == "storage" => {
                let class = class.rsplit('.').next().unwrap_or_default().to_string();
                Ok(Value::Storage(Arc::new(Storage { class, key: key.to_string() })))
            }
            _ => Ok(Value::Opaque),
        },
        _ => Ok(Value::Opaque),
    }
}

fn whole(value: &Value) -> Parsed<usize> {
    match value {
        Value::Int(n) => usize::try_from(*n).map_err(|_| format!("its pickle has a tensor with a size of {n}")),
        _ => Err("its pickle has a tensor with a size that is no number".into()),
    }
}

fn wholes(value: &Value) -> Parsed<Vec<usize>> {
    match value {
        Value::Tuple(values) if values.len() <= 8 => values.iter().map(whole).collect(),
        _ => Err("its pickle has a tensor without a shape".into()),
    }
}

fn pairs(values: Vec<Value>) -> Parsed<Vec<(Value, Value)>> {
    if !values.len().is_multiple_of(2) {
        return Err("its pickle has a key without a value".into());
    }
    let mut values = values.into_iter();
    Ok(std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect())
}

/// What people keep a state dictionary under in a training checkpoint.
const STATES: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Where `torch.nn.Module` keeps what is in it: no part of a tensor's name.
const MEMBERS: [&str; 3] = ["_modules", "_parameters", "_buffers"];

/// Every tensor of a pickle with its dotted name: of a state dictionary, of one in a training checkpoint
/// (`{"state_dict": …}`), or of the tree of a module, TorchScript's or one that was saved whole.
///
/// # Errors
/// What is wrong with the pickle, in words: also where it has more levels or values than any model has, as in a pickle that holds itself.
pub fn tensors(bytes: &[u8]) -> Parsed<Vec<(String, Arc<TensorRef>)>> {
    read(bytes, tensors_of)
}

fn tensors_of(value: &Value) -> Parsed<Vec<(String, Arc<TensorRef>)>> {
    let of = |wanted: &str| {
        let Value::Dict(dict) = value else { return None };
        let dict = dict.borrow();
        dict.iter().find(|(k, v)| matches!((k, v), (Value::Str(k), Value::Dict(_)) if &**k == wanted)).map(|(_, v)| v.clone())
    };
    for root in STATES.into_iter().filter_map(of).chain([value.clone()]) {
        let (mut found, mut visited) = (Vec::new(), 0);
        walk(&root, &mut String::new(), 0, &mut visited, &mut found)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn walk(value: &Value, path: &mut String, level: usize, visited: &mut usize, found: &mut Vec<(String, Arc<TensorRef>)>) -> Parsed<()> {
    *visited += 1;
    if level > MOST_LEVELS || *visited > MOST_VALUES {
        return Err("its pickle holds more than a model does, or itself".into());
    }
    match value {
        Value::Tensor(tensor) => found.push((path.clone(), tensor.clone())),
        Value::Dict(dict) => {
            for (key, value) in dict.borrow().iter() {
                let Value::Str(key) = key else { continue };
                let length = path.len();
                if !MEMBERS.contains(&&**key) {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                if path.len() < 1024 {
                    walk(value, path, level + 1, visited, found)?;
                }
                path.truncate(length);
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that fails may panic
mod tests {
    use super::*;

    #[test]
    fn what_nests_as_deep_as_it_is_long_is_let_go() {
        let levels = 1_000_000;
        let tuples = [b"\x80\x02N".to_vec(), vec![0x85; levels], b".".to_vec()].concat();
        let lists = [b"\x80\x02".to_vec(), vec![b']'; levels], vec![b'a'; levels - 1], b".".to_vec()].concat();
        let dictionaries = [b"\x80\x02}".to_vec(), b"K\x01}".repeat(levels / 2), vec![b's'; levels / 2], b".".to_vec()].concat();
        let never_ended = [b"\x80\x02N".to_vec(), vec![0x85; levels]].concat();
        let on_a_small_stack = |pickle: Vec<u8>| {
            let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(move || tensors(&pickle).map(|found| found.len()));
            thread.unwrap().join().unwrap()
        };
        assert_eq!(on_a_small_stack(tuples), Ok(0));
        assert_eq!(on_a_small_stack(lists), Ok(0));
        assert_eq!(on_a_small_stack(dictionaries), Ok(0));
        assert_eq!(on_a_small_stack(never_ended), Err("its pickle is cut short".into()));
    }

    #[test]
    fn two_dictionaries_built_into_each_other_are_more_than_a_model_has() {
        // a = {1: None}, b = {}; then a's pairs are set on b, and b's on a, again and again: as many as Fibonacci's rabbits.
        let mut pickle = b"\x80\x02}q\x00K\x01Ns0}q\x010".to_vec();
        (0..40).for_each(|_| pickle.extend(b"h\x01h\x00b0h\x00h\x01b0"));
        pickle.extend(b"h\x00.");
        assert_eq!(tensors(&pickle).unwrap_err(), format!("its pickle has more than {MOST_VALUES} steps"));
    }
}
