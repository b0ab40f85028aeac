//! What values of the configuration are made of: each knows where it stands in the file, what it may be, and how the JSON schema describes it.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, Range};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use std::borrow::Cow;
use toml::Spanned;

/// A value and the place in the file where it stands, so that an error of meaning can point at it. Two are equal when their values are.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file.
    pub at: Range<usize>,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { at: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value that is written as a string of some form.
pub trait FromText: Sized {
    /// What is allowed, in words.
    const ALLOWED: &'static str;
    /// A good value.
    const EXAMPLE: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    fn from_text(text: &str) -> Result<Self, String>;

    /// What is allowed, with an example.
    #[must_use]
    fn allowed() -> String {
        format!("{}, such as \"{}\"", Self::ALLOWED, Self::EXAMPLE)
    }
}

/// A string that has been read as a `T`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text<T>(pub T);

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);
        impl<T: FromText> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&T::allowed())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                read_text(text)
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

impl<T: FromText> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": T::ALLOWED, "examples": [T::EXAMPLE] })
    }
}

/// One string, or a list of strings. Of a rule's condition any of them may match.
#[derive(Clone, Debug)]
pub struct List<T> {
    /// The values, in order.
    pub items: Vec<Located<T>>,
    /// The bytes of the whole in the file; empty where the key is not there.
    pub at: Range<usize>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), at: 0..0 }
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<'de, T: FromText> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<OneOrMany<T>>::deserialize(deserializer)?;
        let at = spanned.span();
        let items = match spanned.into_inner() {
            OneOrMany::One(value) => vec![Located { value, at: at.clone() }],
            OneOrMany::Many(values) => values,
        };
        Ok(Self { items, at })
    }
}

impl<T: FromText> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "List".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Text::<T>::json_schema(generator);
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

enum OneOrMany<T> {
    One(T),
    Many(Vec<Located<T>>),
}

impl<'de, T: FromText> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: FromText> Visitor<'de> for ListVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or a list of such", T::allowed())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                read_text(text).map(|Text(value)| OneOrMany::One(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(item) = items.next_element::<Located<Text<T>>>()? {
                    values.push(Located { value: item.value.0, at: item.at });
                }
                Ok(OneOrMany::Many(values))
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

fn read_text<T: FromText, E: Error>(text: &str) -> Result<Text<T>, E> {
    let fault = |what| E::custom(format!("{what}; allowed: {}", T::allowed()));
    T::from_text(text).map(Text).map_err(fault)
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whole<const MIN: u32, const MAX: u32>(pub u32);

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> Visitor<'_> for WholeVisitor<MIN, MAX> {
            type Value = Whole<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let in_range = u32::try_from(number).ok().filter(|n| (MIN..=MAX).contains(n));
                in_range.map(Whole).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_i128<E: Error>(self, _number: i128) -> Result<Self::Value, E> {
                Err(E::invalid_value(Unexpected::Other("a number far outside"), &self))
            }
        }
        deserializer.deserialize_i64(WholeVisitor)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}
