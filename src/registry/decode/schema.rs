//! An Avro schema as a flat list of nodes that refer to each other by index, so that circular
//! schemas need no ownership.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Error;
use super::logical::Meaning;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int(Meaning),
    Long(Meaning),
    Float,
    Double,
    Bytes(Meaning),
    String,
    Fixed(usize, Meaning),
    Enum(Vec<String>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<(Arc<str>, NodeId)>),
    /// Debezium's record of scale and unscaled value: a number.
    VariableScaleDecimal {
        scale: NodeId,
        value: NodeId,
    },
}

#[derive(Debug)]
pub(super) struct Schema {
    nodes: Vec<Node>,
    root: NodeId,
}

impl Schema {
    pub(super) fn parse(text: &str) -> Result<Schema, Error> {
        // serde_json bounds the nesting, and with it the recursion below.
        let json: Value = serde_json::from_str(text).map_err(|_| Error::Schema("not JSON"))?;
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
        let root = parser.schema(&json, "")?;
        Ok(Schema { nodes: parser.nodes, root })
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    /// Every id was made by the parser of this schema; a foreign one reads as null.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&Node::Null)
    }
}

struct Parser {
    nodes: Vec<Node>,
    /// Named types by full name.
    names: HashMap<String, NodeId>,
}

impl Parser {
    fn schema(&mut self, json: &Value, namespace: &str) -> Result<NodeId, Error> {
        match json {
            Value::String(name) => self.primitive_or_name(name, &Map::new(), namespace),
            Value::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| self.schema(branch, namespace))
                    .collect::<Result<_, _>>()?;
                Ok(self.push(Node::Union(branches)))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(name)) => self.complex(name, object, namespace),
                Some(nested) => self.schema(nested, namespace),
                None => Err(Error::Schema("a type is missing")),
            },
            _ => Err(Error::Schema("a type is neither a name, an object nor a union")),
        }
    }

    fn complex(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, Error> {
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let symbols = list(object, "symbols")?
                    .iter()
                    .map(|symbol| symbol.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or(Error::Schema("an enum symbol is no string"))?;
                let id = self.push(Node::Enum(symbols));
                self.name(object, namespace, id)?;
                Ok(id)
            }
            "fixed" => {
                let size = object
                    .get("size")
                    .and_then(Value::as_u64)
                    .and_then(|size| usize::try_from(size).ok())
                    .ok_or(Error::Schema("a fixed has no size"))?;
                let id = self.push(Node::Fixed(size, Meaning::of(object)));
                self.name(object, namespace, id)?;
                Ok(id)
            }
            "array" => {
                let items = self.schema(member(object, "items")?, namespace)?;
                Ok(self.push(Node::Array(items)))
            }
            "map" => {
                let values = self.schema(member(object, "values")?, namespace)?;
                Ok(self.push(Node::Map(values)))
            }
            name => self.primitive_or_name(name, object, namespace),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, Error> {
        // Known by its name before its fields are read: they may refer to it.
        let id = self.push(Node::Null);
        let full_name = self.name(object, namespace, id)?;
        let inner = full_name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let mut fields = Vec::new();
        for field in list(object, "fields")? {
            let field = field.as_object().ok_or(Error::Schema("a field is no object"))?;
            let name =
                member(field, "name")?.as_str().ok_or(Error::Schema("a field has no name"))?;
            fields.push((Arc::from(name), self.schema(member(field, "type")?, inner)?));
        }
        let node = match (full_name.as_str(), fields.as_slice()) {
            ("io.debezium.data.VariableScaleDecimal", [(_, scale), (_, value)]) => {
                Node::VariableScaleDecimal { scale: *scale, value: *value }
            }
            _ => Node::Record(fields),
        };
        if let Some(place) = self.nodes.get_mut(id.0) {
            *place = node;
        }
        Ok(id)
    }

    fn primitive_or_name(
        &mut self,
        name: &str,
        attributes: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, Error> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int(Meaning::of(attributes)),
            "long" => Node::Long(Meaning::of(attributes)),
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes(Meaning::of(attributes)),
            "string" => Node::String,
            name => {
                return self
                    .names
                    .get(&full_name(name, namespace))
                    .or_else(|| self.names.get(name))
                    .copied()
                    .ok_or(Error::Schema("a type is not defined in it"));
            }
        };
        Ok(self.push(node))
    }

    fn name(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        id: NodeId,
    ) -> Result<String, Error> {
        let name = member(object, "name")?.as_str().ok_or(Error::Schema("a name is no string"))?;
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full_name = full_name(name, own);
        self.names.insert(full_name.clone(), id);
        Ok(full_name)
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Error> {
    object.get(name).ok_or(Error::Schema("an attribute is missing"))
}

fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], Error> {
    let list = member(object, name)?.as_array().ok_or(Error::Schema("an attribute is no list"))?;
    Ok(list)
}
