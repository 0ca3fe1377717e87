//! The graph: values and the ops that make them, in the order they were added, which is an order they can run in.

pub mod plan;
pub mod session;

use crate::error::Result;
use crate::ops::{Call, Op};

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
    /// A row per token of each item.
    Tokens,
}

/// The type of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    U32,
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
        if self.kind == Kind::U32 { self.width } else { self.width.next_multiple_of(8) }
    }

    /// Rows in a run of this size.
    pub fn rows(&self, size: Size) -> usize {
        match self.rows {
            Rows::Fixed(rows) => rows,
            Rows::Items => size.batch,
            Rows::Tokens => size.batch * size.tokens,
        }
    }

    /// Bytes of its rows.
    pub fn bytes(&self, size: Size) -> u64 {
        (self.rows(size).max(1) * self.stride() * 4) as u64
    }

    /// Bytes of the slot that holds it where a node makes it: its rows rounded up to the 64 of a tile.
    pub fn slot_bytes(&self, capacity: Size) -> u64 {
        (self.rows(capacity).max(1).next_multiple_of(64) * self.stride() * 4) as u64
    }

    /// The shape in words, for errors.
    pub fn shape(&self) -> String {
        match self.rows {
            Rows::Fixed(rows) => format!("[{rows}, {}]", self.width),
            Rows::Items => format!("[batch, {}]", self.width),
            Rows::Tokens => format!("[batch, tokens, {}]", self.width),
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
    pub output: Value,
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

    /// Adds a node and names what it makes.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where the inputs do not fit the op.
    pub fn push(&mut self, name: impl Into<String>, op: impl Op + 'static, inputs: &[Value]) -> Result<Value> {
        let (rows, width) = op.output(&self.descs(inputs))?;
        let output = self.value(Desc { name: name.into(), rows, width, kind: Kind::F32 }, Origin::Node);
        self.nodes.push(Node { op: Box::new(op), inputs: inputs.into(), output });
        Ok(output)
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

    /// Floating-point operations of one run.
    pub fn flops(&self, size: Size) -> u64 {
        self.nodes.iter().map(|n| n.op.flops(&Call { inputs: &self.descs(&n.inputs), output: self.desc(n.output), size })).sum()
    }

    /// Every value by the ops' references, given the inputs and weights (`None` where a value is made by a node).
    pub fn reference(&self, mut data: Vec<Option<Vec<f32>>>, size: Size) -> Vec<Vec<f32>> {
        for node in &self.nodes {
            let inputs: Vec<&[f32]> = node.inputs.iter().map(|v| data[v.0].as_deref().unwrap_or(&[])).collect();
            let call = Call { inputs: &self.descs(&node.inputs), output: self.desc(node.output), size };
            data[node.output.0] = Some(node.op.reference(&inputs, &call));
        }
        data.into_iter().map(Option::unwrap_or_default).collect()
    }
}
