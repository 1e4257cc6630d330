//! JSON bodies in which an object is an object.
//!
//! A derived reader takes an array for a struct too, field by field: names, and with them the refusal of unknown ones,
//! would be void, and a field added in the middle would be read for another. Here whatever is a struct must be an
//! object, however deep it stands. Source: docs/api.md, "Requests".

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::api::misread;
use crate::api::problem::Problem;

/// Reads JSON whose structs are objects. What is wrong is told with its place.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let read = T::deserialize(Objects(serde_path_to_error::Deserializer::new(&mut json, &mut track)));
    match read {
        Ok(value) if json.end().is_ok() => Ok(value),
        read => Err(problem(bytes, &track.path(), read.err())),
    }
}

fn problem(bytes: &[u8], path: &serde_path_to_error::Path, error: Option<serde_json::Error>) -> Problem {
    if bytes.trim_ascii().is_empty() {
        return Problem::invalid("", "the body is empty; send a JSON object");
    }
    // A place counts only in what is JSON as a whole.
    match (serde_json::from_slice::<IgnoredAny>(bytes), error) {
        (Ok(IgnoredAny), Some(error)) => misread::in_body(path, &error),
        (Err(error), _) => Problem::invalid("", format!("the body is no JSON: {error}")),
        (Ok(IgnoredAny), None) => unreachable!("a value and nothing after it was read"),
    }
}

/// A deserializer, visitor, seed or access, with everything below it wrapped too.
struct Objects<T>(T);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Objects(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Objects(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Objects(visitor))
    }

    /// Enums of bodies are names: whatever else stands there is told which they are.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Name { names, visitor })
    }

    /// Raw values too, which know their deserializer: what is in them is read where it is used.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// Reads one of `names`.
struct Name<V> {
    names: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "one of `{}`", self.names.join("`, `"))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<V::Value, E> {
        let name: StrDeserializer<'_, E> = name.into_deserializer();
        self.visitor.visit_enum(name)
    }
}

macro_rules! pass_on {
    ($($method:ident($type:ty)),*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    pass_on!(
        visit_bool(bool),
        visit_i64(i64),
        visit_i128(i128),
        visit_u64(u64),
        visit_u128(u128),
        visit_f64(f64),
        visit_str(&str),
        visit_borrowed_str(&'de str),
        visit_string(String),
        visit_bytes(&[u8])
    );

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    /// Names are texts, never structs.
    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::from_slice;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        list: Option<Vec<Inner>>,
        raw: Option<Box<RawValue>>,
        kind: Option<Kind>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        number: i64,
        text: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
    }

    #[test]
    fn objects_are_read_as_they_are() {
        let text =
            r#"{"inner":{"number":-5,"text":"a"},"list":[{"number":1,"text":null}],"raw":[1,{"x":[]}],"kind":"one"}"#;
        let read: Outer = from_slice(text.as_bytes()).unwrap();
        assert_eq!(read.inner, Inner { number: -5, text: Some("a".to_owned()) });
        assert_eq!(read.list.unwrap(), [Inner { number: 1, text: None }]);
        assert_eq!((read.raw.unwrap().get(), read.kind), (r#"[1,{"x":[]}]"#, Some(Kind::One)));
    }

    #[test]
    fn an_array_is_no_struct_however_deep_and_names_are_held_to() {
        let bad = [
            r#"[{"number":1},null,null,null]"#,
            r#"{"inner":[1,"a"]}"#,
            r#"{"inner":{"number":1},"list":[[1,null]]}"#,
            r#"{"inner":{"number":1,"other":2}}"#,
            r#"{"inner":{"number":1,"number":2}}"#,
            r#"{"inner":{"number":"1"}}"#,
            r#"{"inner":{"number":1.5}}"#,
            r#"{"inner":{"number":1}} x"#,
            r#"{"inner":{"number":1},"kind":"two"}"#,
            "",
        ];
        for text in bad {
            assert!(from_slice::<Outer>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        for (text, pointer, detail) in [
            (r#"{"inner":{"number":"1"}}"#, "/inner/number", "must be an integer, not a string"),
            (r#"{"inner":{"number":1e400}}"#, "/inner/number", "the number is out of range"),
            (r#"{"inner":{}}"#, "/inner/number", "is required"),
            (r#"{"inner":{"number":1,"~/":2}}"#, "/inner/~0~1", "is not known here; known are `number` or `text`"),
            (r#"{"inner":{"number":1},"list":[{"number":1},[2]]}"#, "/list/1", "must be an object, not an array"),
            (r#"{"inner":{"number":1},"kind":"two"}"#, "/kind", "must be `one`"),
            (r#"{"inner":{"number":1},"kind":{"one":null}}"#, "/kind", "must be one of `one`, not an object"),
            (r#"{"inner":{"number":1,"number":2}}"#, "/inner/number", "give it once"),
            ("[]", "", "must be an object, not an array"),
            (" ", "", "the body is empty; send a JSON object"),
        ] {
            let problem = String::from_utf8(from_slice::<Outer>(text.as_bytes()).unwrap_err().to_json("r")).unwrap();
            let field = serde_json::json!({ "pointer": pointer, "detail": detail });
            let told: serde_json::Value = serde_json::from_str(&problem).unwrap();
            assert_eq!(told["errors"], serde_json::json!([field]), "{text}");
        }
        let broken = from_slice::<Outer>(br#"{"inner":{"number":"1"}"#).unwrap_err();
        assert_eq!(broken.detail(), "the body is no JSON: EOF while parsing an object at line 1 column 23");
    }
}
