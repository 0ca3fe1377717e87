//! The graph: values and the ops that make them, in the order they were added, which is an order they can run in.

pub mod kernel;
pub mod op;
mod pending;
pub mod plan;
mod profile;
mod record;
pub mod session;
pub mod submissions;
mod weight;
mod witness;

pub use op::{Call, Op, Operand, Shape};
pub use pending::Pending;
pub use profile::Timing;
pub use session::{Data, Session, Target};
pub use weight::{DeviceWeight, DeviceWeights, Piece};

use crate::error::{Error, Result};
use crate::gpu::{Caps, Format};

/// What may change from run to run: items in the batch, tokens per item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub batch: usize,
    pub tokens: usize,
}

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A weight's rows.
    Fixed(usize),
    /// A row per item of the batch.
    Items,
    /// A row per token of each item: as many as the run has.
    Tokens,
    /// So many rows for each item, whatever the run.
    PerItem(usize),
}

impl Rows {
    /// Rows of one item; a weight's rows belong to none.
    pub fn per_item(self, size: Size) -> usize {
        match self {
            Rows::Fixed(_) => 0,
            Rows::Items => 1,
            Rows::Tokens => size.tokens,
            Rows::PerItem(rows) => rows,
        }
    }

    /// Whether they are several of each item's.
    pub fn are_of_items(self) -> bool {
        matches!(self, Rows::Tokens | Rows::PerItem(_))
    }
}

/// The type of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    U32,
    /// The values of a texture, four to a texel: a row of the value is a line of it.
    Texel,
}

/// A value's name, shape and type.
#[derive(Clone, Debug)]
pub struct Desc {
    pub name: String,
    pub rows: Rows,
    /// Elements per row.
    pub width: usize,
    pub kind: Kind,
}

impl Desc {
    /// Elements from row to row in a buffer: padded to 8 with zeros, so that kernels read vec4 of any width. Rows of u32
    /// (ids, lengths) are one element and are not padded.
    pub fn stride(&self) -> usize {
        if self.kind == Kind::F32 { self.width.next_multiple_of(8) } else { self.width }
    }

    /// Rows in a run of this size.
    pub fn rows(&self, size: Size) -> usize {
        match self.rows {
            Rows::Fixed(rows) => rows,
            other => size.batch * other.per_item(size),
        }
    }

    /// Bytes of its rows.
    pub fn bytes(&self, size: Size) -> u64 {
        self.rows(size).max(1) as u64 * self.stride() as u64 * 4
    }

    /// Bytes of the slot that holds it where a node makes it: its rows rounded up to the 64 of a tile.
    pub fn slot_bytes(&self, capacity: Size) -> u64 {
        self.rows(capacity).max(1).next_multiple_of(64) as u64 * self.stride() as u64 * 4
    }

    /// The shape in words, for errors.
    pub fn shape(&self) -> String {
        match self.rows {
            Rows::Fixed(rows) => format!("[{rows}, {}]", self.width),
            Rows::Items => format!("[batch, {}]", self.width),
            Rows::Tokens => format!("[batch, tokens, {}]", self.width),
            Rows::PerItem(rows) => format!("[batch, {rows}, {}]", self.width),
        }
    }
}

/// A value of a [`Graph`], by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value(pub usize);

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written before each run.
    Input,
    /// Of the model: found by name.
    Weight,
    /// Made by a node.
    Node,
}

/// An op, what it reads and what it makes.
#[derive(Debug)]
pub struct Node {
    pub op: Box<dyn Op>,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

/// Values and the nodes that make them.
#[derive(Debug, Default)]
pub struct Graph {
    pub values: Vec<Desc>,
    pub origins: Vec<Origin>,
    pub nodes: Vec<Node>,
}

impl Graph {
    fn value(&mut self, desc: Desc, origin: Origin) -> Value {
        self.values.push(desc);
        self.origins.push(origin);
        Value(self.values.len() - 1)
    }

    /// Moves the nodes from the `first` on, in their order, to right behind what they read, which then need not be kept any longer.
    pub fn hoist(&mut self, first: usize) {
        for at in first..self.nodes.len() {
            let inputs = &self.nodes[at].inputs;
            let makes = |node: &Node| node.outputs.iter().any(|output| inputs.contains(output));
            let to = self.nodes[..at].iter().rposition(makes).map_or(0, |last| last + 1);
            self.nodes[to..=at].rotate_right(1);
        }
    }

    /// A value written before each run.
    pub fn input(&mut self, name: &str, rows: Rows, width: usize, kind: Kind) -> Value {
        self.value(Desc { name: name.into(), rows, width, kind }, Origin::Input)
    }

    /// A weight `[rows, width]` of the model; asked for twice, it is one value.
    pub fn weight(&mut self, name: impl Into<String>, rows: usize, width: usize) -> Value {
        let name = name.into();
        let known = (0..self.values.len()).find(|&i| self.origins[i] == Origin::Weight && self.values[i].name == name);
        known.map(Value).unwrap_or_else(|| self.value(Desc { name, rows: Rows::Fixed(rows), width, kind: Kind::F32 }, Origin::Weight))
    }

    /// Adds a node of one output, and names what it makes.
    ///
    /// # Errors
    /// [`Error::Shape`] where the inputs do not fit the op.
    pub fn push(&mut self, name: impl Into<String>, op: impl Op, inputs: &[Value]) -> Result<Value> {
        Ok(self.push_all(&[&name.into()], op, inputs)?[0])
    }

    /// Adds a node, and names what it makes.
    ///
    /// # Errors
    /// [`Error::Shape`] where the inputs do not fit the op, or the names its outputs.
    pub fn push_all(&mut self, names: &[&str], op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        let shapes = op.outputs(&self.descs(inputs))?;
        if shapes.len() != names.len() || inputs.len() > op.operands().len() {
            let message = format!(
                "expected {} names and at most {} inputs, found {} and {}",
                shapes.len(),
                op.operands().len(),
                names.len(),
                inputs.len()
            );
            return op::shape_error(op.name(), message);
        }
        let named = shapes.into_iter().zip(names);
        let outputs: Vec<Value> = named
            .map(|(Shape { rows, width, kind }, name)| self.value(Desc { name: (*name).into(), rows, width, kind }, Origin::Node))
            .collect();
        self.nodes.push(Node { op: Box::new(op), inputs: inputs.into(), outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Whether an input is a texture.
    pub fn reads_textures(&self) -> bool {
        self.values.iter().any(|d| d.kind == Kind::Texel)
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<Value> {
        self.values.iter().position(|d| d.name == name).map(Value)
    }

    pub fn desc(&self, value: Value) -> &Desc {
        &self.values[value.0]
    }

    pub fn descs(&self, values: &[Value]) -> Vec<&Desc> {
        values.iter().map(|v| self.desc(*v)).collect()
    }

    /// The weights that the graph reads.
    pub fn weights(&self) -> impl Iterator<Item = (Value, &Desc)> {
        self.values.iter().enumerate().filter(|(i, _)| self.origins[*i] == Origin::Weight).map(|(i, d)| (Value(i), d))
    }

    /// How a weight is read: as its first reader does.
    pub fn operand(&self, weight: Value) -> Operand {
        let read = |node: &Node| node.inputs.iter().position(|v| *v == weight).map(|i| node.op.operands()[i]);
        self.nodes.iter().find_map(read).unwrap_or(Operand::Rows)
    }

    /// Calls `f` with what a node sees in a run of this size; `format` says how a weight is stored.
    pub(crate) fn with_call<T>(&self, node: &Node, size: Size, format: impl Fn(Value) -> Option<Format>, f: impl FnOnce(&Call) -> T) -> T {
        let stored = |(i, v): (usize, &Value)| format(*v).filter(|_| node.op.operands()[i] != Operand::Rows);
        let formats: Vec<Option<Format>> = node.inputs.iter().enumerate().map(stored).collect();
        f(&Call { inputs: &self.descs(&node.inputs), formats: &formats, outputs: &self.descs(&node.outputs), size })
    }

    /// The kernels of the last node in a run of this size, its weight matrices stored as `format`: for tools.
    pub fn lower_last(&self, size: Size, format: Format, caps: &Caps) -> Vec<kernel::Kernel> {
        let of_weight = |v: Value| (self.origins[v.0] == Origin::Weight).then_some(format);
        let lower = |node: &Node| self.with_call(node, size, of_weight, |call| node.op.lower(call, caps));
        self.nodes.last().map(lower).unwrap_or_default()
    }

    /// Floating-point operations of one run.
    pub fn flops(&self, size: Size) -> u64 {
        self.nodes.iter().map(|n| self.with_call(n, size, |_| None, |call| n.op.flops(call))).sum()
    }

    /// Every value by the ops' references, given the inputs and weights (`None` where a value is made by a node, which must
    /// have one output).
    pub fn reference(&self, mut data: Vec<Option<Vec<f32>>>, size: Size) -> Vec<Vec<f32>> {
        for node in &self.nodes {
            let inputs: Vec<&[f32]> = node.inputs.iter().map(|v| data[v.0].as_deref().unwrap_or(&[])).collect();
            let made = self.with_call(node, size, |_| None, |call| node.op.reference(&inputs, call));
            data[node.outputs[0].0] = Some(made);
        }
        data.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The values of these names.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the one that is not there.
    pub fn named(&self, names: &[&str]) -> Result<Vec<Value>> {
        let find = |name: &&str| self.find(name).ok_or_else(|| Error::Argument(format!("the graph has no value `{name}`")));
        names.iter().map(find).collect()
    }
}
