//! Answers of the query API, read whole into a small tree.
//!
//! What comes in is judged, not trusted: it is no deeper and has no more elements than these limits, names no document
//! type (which could define entities), and what is missing in it is `None` to whoever asks.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Answers of EC2 nest 12 deep at most.
const DEPTH_MAX: usize = 32;
/// A page of a thousand instances has about a hundred thousand elements.
const ELEMENTS_MAX: usize = 1_000_000;

/// One element, without its attributes: the API uses none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    name: String,
    text: String,
    children: Vec<Node>,
}

impl Node {
    /// Reads a document and gives its outermost element.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(document).map_err(|_| "it is no UTF-8".to_owned())?;
        let mut reader = Reader::from_str(text);
        let (mut open, mut elements): (Vec<Self>, usize) = (Vec::new(), 0);
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            let closed = match event {
                Event::Start(start) => {
                    elements += 1;
                    if elements > ELEMENTS_MAX || open.len() >= DEPTH_MAX {
                        return Err("it is too deep or has too many elements".to_owned());
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                    None
                }
                Event::Empty(start) => {
                    elements += 1;
                    if elements > ELEMENTS_MAX {
                        return Err("it has too many elements".to_owned());
                    }
                    Some(Self::named(start.local_name().as_ref()))
                }
                Event::End(_) => open.pop(),
                Event::Text(more) => {
                    add(&mut open, &more.xml10_content());
                    None
                }
                Event::CData(more) => {
                    add(&mut open, &more.xml10_content());
                    None
                }
                Event::GeneralRef(reference) => {
                    let resolved = resolve(&reference)?;
                    add(&mut open, resolved.encode_utf8(&mut [0; 4]));
                    None
                }
                Event::DocType(_) => return Err("it has a document type".to_owned()),
                Event::Eof => return Err("it ends too early".to_owned()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
            };
            match (closed, open.last_mut()) {
                (Some(closed), Some(parent)) => parent.children.push(closed),
                (Some(closed), None) => return Ok(closed),
                (None, _) => {}
            }
        }
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Whether this is its name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name
    }

    /// The first element at a path of names below this one, such as `instanceState/name`.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |node, name| {
            node.children.iter().find(|child| child.name == name)
        })
    }

    /// The text of the element at a path, without spaces around it; `None` if it has none.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        let text = self.at(path)?.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// The text of the element at a path as it is, which may be empty: the value of a tag.
    pub(super) fn value(&self, path: &str) -> Option<&str> {
        Some(self.at(path)?.text.as_str())
    }

    /// Whether the text of the element at a path is `true`.
    pub(super) fn is_true(&self, path: &str) -> bool {
        self.text(path) == Some("true")
    }

    /// All elements of the list at a path.
    pub(super) fn items(&self, path: &str) -> impl Iterator<Item = &Self> {
        let list = self.at(path).map(|list| list.children.as_slice());
        list.unwrap_or_default()
            .iter()
            .filter(|child| child.name == "item")
    }
}

fn add(open: &mut [Node], text: &str) {
    if let Some(node) = open.last_mut() {
        node.text.push_str(text);
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, String> {
    if let Some(named) = reference
        .resolve_char_ref()
        .map_err(|error| error.to_string())?
    {
        return Ok(named);
    }
    match &*reference.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!(
            "it refers to `{}`",
            other.chars().take(20).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_found_by_their_path() {
        let node = Node::parse(
            br#"<?xml version="1.0"?><a xmlns="x"><!-- c --><b><item><k>1 &lt; &#252;</k><v/></item><item/><other/></b> <c> d </c></a>"#,
        )
        .expect("valid");
        assert_eq!(node.name, "a");
        assert_eq!(node.items("b").count(), 2);
        let first = node.items("b").next().expect("one");
        assert_eq!(first.value("k"), Some("1 < ü"));
        assert_eq!((first.value("v"), first.text("v")), (Some(""), None));
        assert_eq!((node.text("c"), node.text("b/x")), (Some("d"), None));
        assert_eq!(node.items("nowhere").count(), 0);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        for rubbish in [
            "",
            "no XML",
            "<a><b></a>",
            "<a>",
            "<a>&nbsp;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>",
            &deep,
        ] {
            assert!(Node::parse(rubbish.as_bytes()).is_err(), "{rubbish}");
        }
        assert!(Node::parse(b"<a>\xff</a>").is_err());
    }

    proptest! {
        #[test]
        fn bytes_of_strangers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Node::parse(&bytes);
        }

        #[test]
        fn texts_that_look_like_xml_never_panic(text in "[<>/&;#a-c\"'!\\[\\]x0-9 =?-]{0,80}") {
            let _ = Node::parse(text.as_bytes());
        }
    }
}
