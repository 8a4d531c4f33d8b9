//! From YAML text to the tree of [`document`](super::document).
//!
//! The grammar is left to an event parser; this file gives the events the meaning that operators of
//! Distribution rely on: of a repeated key the last one counts, `<<` merges, quoted scalars are text,
//! of several documents the first is read. What Distribution does silently is a warning here.
//!
//! Invariant: reading costs memory in proportion to the text. Aliases are copied, so each copy is
//! paid from the same budget as written nodes, and a few lines cannot unfold into gigabytes.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::document::{Location, Map, Meaning, Node, Pair, Scalar, Value, quoted};
use super::problem::{Problem, Warning};
use super::scalar;

/// Longest text that is read.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Deepest nesting of lists and sections, aliases unfolded.
pub const MAX_DEPTH: usize = 64;
/// Most nodes in one text, copies made by aliases included.
pub const MAX_NODES: usize = 100_000;
/// Most bytes in all scalars and keys together, copies made by aliases included.
pub const MAX_CONTENT_BYTES: usize = 4 * MAX_TEXT_BYTES;

/// Whose text it is, which decides the locations of its nodes.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    File(Arc<str>),
    Environment(Arc<str>),
    Default,
}

impl Origin {
    fn at(&self, line: usize, column: usize) -> Location {
        match self {
            Self::File(path) => Location::File {
                path: path.clone(),
                line,
                column,
            },
            Self::Environment(variable) => Location::Environment {
                variable: variable.clone(),
            },
            Self::Default => Location::Default,
        }
    }

    fn marker(&self, marker: &Marker) -> Location {
        self.at(marker.line(), marker.col() + 1)
    }

    fn problem(&self, at: Location, text: impl Into<String>) -> Problem {
        Problem {
            at,
            key: String::new(),
            text: text.into(),
        }
    }
}

/// Reads bytes that should be UTF-8.
pub(super) fn parse_bytes(
    bytes: &[u8],
    origin: &Origin,
    warnings: &mut Vec<Warning>,
) -> Result<Node, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, origin, warnings),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
            Err(origin.problem(origin.at(line, column), "the text is not UTF-8"))
        }
    }
}

/// Reads the first document of a text; no document at all is null.
pub(super) fn parse(
    text: &str,
    origin: &Origin,
    warnings: &mut Vec<Warning>,
) -> Result<Node, Problem> {
    if text.len() > MAX_TEXT_BYTES {
        let reason = format!(
            "the text has {} bytes, at most {MAX_TEXT_BYTES} are read",
            text.len()
        );
        return Err(origin.problem(origin.at(1, 1), reason));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        origin,
        warnings,
        anchors: HashMap::new(),
        path: Vec::new(),
        nodes: 0,
        content_bytes: 0,
    };
    builder.document()
}

struct Builder<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    origin: &'a Origin,
    warnings: &'a mut Vec<Warning>,
    anchors: HashMap<usize, Node>,
    /// The keys from the top to the mapping being read.
    path: Vec<String>,
    nodes: usize,
    content_bytes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut first = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if first.is_some() => {
                    self.warnings.push(Warning::new(
                        &at,
                        "a second YAML document begins here; only the first one is read",
                    ));
                    break;
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                node => first = Some(self.node(node, at, 0)?),
            }
        }
        Ok(first.unwrap_or_else(|| Node::null(self.origin.at(1, 1))))
    }

    fn next(&mut self) -> Result<(Event<'a>, Location), Problem> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, self.origin.marker(&span.start))),
            Some(Err(error)) => Err(self.origin.problem(
                self.origin.marker(error.marker()),
                format!("not valid YAML: {}", error.info()),
            )),
            None => Ok((Event::StreamEnd, self.origin.at(1, 1))),
        }
    }

    /// Builds the node that an event begins.
    fn node(&mut self, event: Event<'a>, at: Location, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.pay(1, text.len(), &at)?;
                let value = Value::Scalar(scalar(&text, style, tag.as_deref()));
                (Node { value, at }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.pay(1, 0, &at)?;
                let value = Value::List(self.items(depth)?);
                (Node { value, at }, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.pay(1, 0, &at)?;
                let value = Value::Map(self.pairs(depth)?);
                (Node { value, at }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).cloned() else {
                    let text = "an alias stands inside the value it repeats";
                    return Err(self.origin.problem(at, text));
                };
                let size = Size::of(&target);
                if depth + size.depth > MAX_DEPTH {
                    return Err(self.too_deep(at));
                }
                self.pay(size.nodes, size.bytes, &at)?;
                (target, 0)
            }
            _ => {
                return Err(self
                    .origin
                    .problem(at, "not valid YAML: a value was expected"));
            }
        };
        if anchor != 0 {
            let size = Size::of(&node);
            self.pay(size.nodes, size.bytes, &node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn pairs(&mut self, depth: usize) -> Result<Map, Problem> {
        let mut map = Map::default();
        let mut positions = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, at) => self.node(event, at, depth + 1)?,
            };
            let Value::Scalar(name) = key.value else {
                let text = "a key must be a single word or text";
                return Err(self.origin.problem(key.at, text));
            };
            let name = name.text;
            self.path.push(name.clone());
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1);
            self.path.pop();
            let pair = Pair {
                key: name,
                at: key.at,
                value: value?,
            };
            if pair.key == "<<" {
                merged.push(pair);
                continue;
            }
            match positions.get(&pair.key) {
                Some(position) => self.repeated(map.pair_mut(*position), pair),
                None => {
                    positions.insert(pair.key.clone(), positions.len());
                    map.push(pair);
                }
            }
        }
        for pair in merged {
            self.merge(&mut map, &mut positions, pair)?;
        }
        Ok(map)
    }

    /// Of a repeated key the last one counts. `middleware.storage` alone is put together: the long
    /// published example of Distribution repeats it, and dropping the first half of a chain is
    /// never what its author meant.
    fn repeated(&mut self, first: &mut Pair, mut again: Pair) {
        let key = quoted(&again.key);
        let outcome = match (&mut first.value.value, &mut again.value.value) {
            (Value::List(earlier), Value::List(later))
                if self.path == ["middleware"] && again.key == "storage" =>
            {
                earlier.append(later);
                std::mem::swap(earlier, later);
                "both lists are used"
            }
            _ => "the last one counts",
        };
        self.warnings.push(Warning::new(
            &again.at,
            format!(
                "{key} is repeated, it was first set at {}; {outcome}",
                first.at
            ),
        ));
        *first = again;
    }

    /// Puts the keys of `<<` where the mapping does not set them itself.
    fn merge(
        &mut self,
        map: &mut Map,
        positions: &mut HashMap<String, usize>,
        pair: Pair,
    ) -> Result<(), Problem> {
        let sources = match pair.value.value {
            Value::Map(source) => vec![source],
            Value::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
                items.iter().filter_map(Node::as_map).cloned().collect()
            }
            Value::List(_) | Value::Scalar(_) => {
                let text = "<< must hold a section or a list of sections";
                return Err(self.origin.problem(pair.value.at, text));
            }
        };
        for source in sources {
            for pair in source.iter() {
                if !positions.contains_key(&pair.key) {
                    positions.insert(pair.key.clone(), positions.len());
                    map.push(pair.clone());
                }
            }
        }
        Ok(())
    }

    fn pay(&mut self, nodes: usize, bytes: usize, at: &Location) -> Result<(), Problem> {
        self.nodes += nodes;
        self.content_bytes += bytes;
        if self.nodes > MAX_NODES {
            let text = format!("more than {MAX_NODES} values, aliases unfolded");
            return Err(self.origin.problem(at.clone(), text));
        }
        if self.content_bytes > MAX_CONTENT_BYTES {
            let text = format!("more than {MAX_CONTENT_BYTES} bytes of text, aliases unfolded");
            return Err(self.origin.problem(at.clone(), text));
        }
        Ok(())
    }

    fn too_deep(&self, at: Location) -> Problem {
        let text = format!("nested more than {MAX_DEPTH} levels deep");
        self.origin.problem(at, text)
    }
}

/// Gives a scalar its meaning; quotes, blocks and the tag `!!str` make it text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
    let is_text =
        style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
    Scalar {
        text: text.to_owned(),
        meaning: if is_text {
            Meaning::String
        } else {
            scalar::resolve(text)
        },
    }
}

/// What a subtree costs to copy.
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    fn of(node: &Node) -> Self {
        let mut size = Self {
            nodes: 1,
            bytes: 0,
            depth: 0,
        };
        match &node.value {
            Value::Scalar(scalar) => size.bytes = scalar.text.len(),
            Value::List(items) => items.iter().for_each(|item| size.add(item)),
            Value::Map(map) => {
                for pair in map.iter() {
                    size.nodes += 1;
                    size.bytes += pair.key.len();
                    size.add(&pair.value);
                }
            }
        }
        size
    }

    fn add(&mut self, child: &Node) {
        let child = Self::of(child);
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.depth = self.depth.max(child.depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<Node, Problem>, Vec<String>) {
        let mut warnings = Vec::new();
        let node = parse(text, &Origin::File("c.yml".into()), &mut warnings);
        (node, warnings.iter().map(Warning::to_string).collect())
    }

    fn refused(text: &str) -> String {
        read(text).0.unwrap_err().to_string()
    }

    #[test]
    fn every_node_knows_its_place() {
        let (node, warnings) = read("a:\n  b: [1, two]\n  c: 'no'\n");
        let node = node.unwrap();
        assert!(warnings.is_empty());
        let a = node.as_map().unwrap().get("a").unwrap();
        let b = a.as_map().unwrap().pair("b").unwrap();
        assert_eq!(b.at.to_string(), "c.yml:2:3");
        let items = b.value.as_list().unwrap();
        assert_eq!(items[1].at.to_string(), "c.yml:2:10");
        assert_eq!(items[0].as_scalar().unwrap().meaning, Meaning::Integer(1));
        let c = a.as_map().unwrap().get("c").unwrap();
        assert_eq!(c.as_scalar().unwrap().meaning, Meaning::String);
    }

    #[test]
    fn of_a_repeated_key_the_last_counts_and_both_lines_are_named() {
        let (node, warnings) = read("a: 1\nb: 2\na: 3\n");
        let node = node.unwrap();
        let a = node.as_map().unwrap().get("a").unwrap();
        assert_eq!(a.as_scalar().unwrap().text, "3");
        assert_eq!(
            warnings,
            ["c.yml:3:1: \"a\" is repeated, it was first set at c.yml:1:1; the last one counts"]
        );
    }

    #[test]
    fn repeated_storage_middleware_is_put_together() {
        let (node, warnings) =
            read("middleware:\n  storage:\n    - name: one\n  storage:\n    - name: two\n");
        let node = node.unwrap();
        let middleware = node.as_map().unwrap().get("middleware").unwrap();
        let storage = middleware.as_map().unwrap().get("storage").unwrap();
        let names: Vec<&str> = storage
            .as_list()
            .unwrap()
            .iter()
            .map(|item| item.as_map().unwrap().get("name").unwrap())
            .map(|name| name.as_scalar().unwrap().text.as_str())
            .collect();
        assert_eq!(names, ["one", "two"]);
        assert!(
            warnings[0].ends_with("c.yml:2:3; both lists are used"),
            "{warnings:?}"
        );
    }

    #[test]
    fn aliases_and_merge_keys_unfold() {
        let (node, _) = read("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nsame: *b\n");
        let node = node.unwrap();
        let root = node.as_map().unwrap();
        let used = root.get("use").unwrap().as_map().unwrap();
        assert_eq!(used.get("x").unwrap().as_scalar().unwrap().text, "1");
        assert_eq!(used.get("y").unwrap().as_scalar().unwrap().text, "3");
        assert_eq!(root.get("same"), root.get("base"));
    }

    #[test]
    fn limits_have_names() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(refused(&bomb).contains("more than 100000 values"));

        let long = "y".repeat(MAX_TEXT_BYTES / 2);
        let copies = "*a, ".repeat(20);
        assert!(refused(&format!("a: &a {long}\nb: [{copies}]\n")).contains("bytes of text"));

        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(refused(&deep).contains("nested more than 64 levels"));

        let mut nest = String::from("a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n");
        for level in 1..10 {
            nest.push_str(&format!(
                "a{level}: &a{level} [[[[[[[[*a{}]]]]]]]]\n",
                level - 1
            ));
        }
        assert!(refused(&nest).contains("nested more than 64 levels"));

        assert!(refused(&" ".repeat(MAX_TEXT_BYTES + 1)).contains("at most 1048576 are read"));
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        for (text, start) in [
            ("a: [1\nb: 2\n", "c.yml:"),
            ("a: *missing\n", "c.yml:1:"),
            ("a: &a [*a]\n", "c.yml:1:"),
            ("[x]: 1\n", "c.yml:1:"),
            ("a: {<<: 1}\n", "c.yml:1:9"),
            ("http:\n\taddr: x\n\tnet: y\n", "c.yml:"),
        ] {
            let message = refused(text);
            assert!(message.starts_with(start), "{text:?}: {message}");
        }
        let mut warnings = Vec::new();
        let origin = Origin::File("c.yml".into());
        let problem = parse_bytes(b"a: 1\nb: \xff", &origin, &mut warnings).unwrap_err();
        assert_eq!(problem.to_string(), "c.yml:2:4: the text is not UTF-8");
    }

    #[test]
    fn only_the_first_document_is_read() {
        let (node, warnings) = read("---\na: 1\n---\nb: 2\n");
        assert!(node.unwrap().as_map().unwrap().get("b").is_none());
        assert_eq!(warnings.len(), 1);
        assert!(read("").0.unwrap().is_null());
        assert!(read("# nothing\n").0.unwrap().is_null());
        assert!(read("\u{feff}a: 1\n").0.unwrap().as_map().is_some());
    }
}
