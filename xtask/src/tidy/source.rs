//! Rust as tokens. Comments, documentation and strings do not count; the bodies of macros do.

use std::str::FromStr;

use anyhow::anyhow;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A name that a file uses, with the line it is on.
#[derive(Debug, PartialEq)]
pub(crate) struct Name {
    /// A whole path such as `crate::app::App`, also when it was written as `use crate::{app::{App}, ..}`; a macro as
    /// `todo!`; an attribute as `#[ignore`; a number with a fraction as `1.5`.
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Every name in a file.
pub(crate) fn names(code: &str) -> anyhow::Result<Vec<Name>> {
    let tokens = TokenStream::from_str(code).map_err(|error| anyhow!("not Rust: {error}"))?;
    let mut walk = Walk { names: Vec::new() };
    walk.stream(tokens, "");
    Ok(walk.names)
}

struct Walk {
    names: Vec<Name>,
}

impl Walk {
    /// `prefix` is empty, or the path before the braces of a `use`, with its `::`.
    fn stream(&mut self, tokens: TokenStream, prefix: &str) {
        let mut path = prefix.to_owned();
        let mut line = 0;
        let (mut after_hash, mut after_dot) = (false, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !path.is_empty() && !path.ends_with("::") {
                        self.push(&mut path, prefix, line);
                    }
                    line = ident.span().start().line;
                    path.push_str(&ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => path.push(':'),
                TokenTree::Punct(punct) => {
                    if punct.as_char() == '!' && path != prefix {
                        path.push('!');
                    }
                    after_hash = punct.as_char() == '#' || (after_hash && punct.as_char() == '!');
                    after_dot = punct.as_char() == '.';
                    self.push(&mut path, prefix, line);
                    continue;
                }
                TokenTree::Group(group) if path.ends_with("::") && group.delimiter() == Delimiter::Brace => {
                    self.stream(group.stream(), &path);
                    path = prefix.to_owned();
                }
                TokenTree::Group(group) => {
                    self.push(&mut path, prefix, line);
                    if after_hash {
                        self.attribute(&group);
                    }
                    self.stream(group.stream(), "");
                }
                TokenTree::Literal(literal) => {
                    self.push(&mut path, prefix, line);
                    let text = literal.to_string();
                    // After a dot it is a field of a field of a tuple.
                    if !after_dot && text.starts_with(|first: char| first.is_ascii_digit()) && text.contains('.') {
                        self.names.push(Name { text, line: literal.span().start().line });
                    }
                }
            }
            (after_hash, after_dot) = (false, false);
        }
        self.push(&mut path, prefix, line);
    }

    fn push(&mut self, path: &mut String, prefix: &str, line: usize) {
        let text = path.trim_matches(':');
        if path != prefix && !text.is_empty() {
            self.names.push(Name { text: text.to_owned(), line });
        }
        prefix.clone_into(path);
    }

    fn attribute(&mut self, group: &Group) {
        let mut tokens = group.stream().into_iter();
        if let Some(TokenTree::Ident(ident)) = tokens.next() {
            let value = if matches!(tokens.next(), Some(TokenTree::Punct(equals)) if equals.as_char() == '=') {
                " ="
            } else {
                ""
            };
            self.names.push(Name { text: format!("#[{ident}{value}"), line: ident.span().start().line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        names(code).unwrap().into_iter().map(|name| name.text).collect()
    }

    #[test]
    fn a_grouped_use_is_its_paths() {
        let found = texts("use crate::{app::{App, feed::Ring}, http};");
        for path in ["crate::app::App", "crate::app::feed::Ring", "crate::http"] {
            assert!(found.iter().any(|name| name == path), "{path} is missing in {found:?}");
        }
    }

    #[test]
    fn comments_and_strings_are_no_names() {
        assert_eq!(
            texts("// crate::http\n/// f64\nconst A: &str = \"crate::http 1.5\";"),
            ["#[doc =", "doc", "const", "A", "str"]
        );
    }

    #[test]
    fn macros_attributes_and_fractions_are_names() {
        let found =
            texts("#![expect(dead_code)] #[path = \"a.rs\"] #[ignore] fn a() { todo!(); vec![f64::from(1.5)]; }");
        for name in ["#[expect", "#[path =", "#[ignore", "todo!", "vec!", "f64::from", "1.5"] {
            assert!(found.iter().any(|found| found == name), "{name} is missing in {found:?}");
        }
    }

    #[test]
    fn a_name_knows_its_line() {
        assert_eq!(names("\n\nstruct A;").unwrap()[1], Name { text: "A".to_owned(), line: 3 });
    }
}
