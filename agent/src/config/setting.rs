//! One definition per key: the [`section!`] macro makes the struct, its defaults and the table of keys.
//!
//! File, environment, flags, the printed reference and its tests all read that one table, so no key can lack a
//! flag, a default or a description, and none can be described differently in two places.

use toml::Value;

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// What a person may write, for messages and the reference.
    const EXPECTS: &'static str;
    /// Whether a flag may be repeated, each occurrence adding to the value.
    const REPEATS: bool = false;

    /// Reads the value from a file. The error says what is wrong with it, without the key.
    fn from_toml(value: Value) -> Result<Self, String>;

    /// Reads the value from a flag or the environment.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The value as a file would have it; `None` when it is not set.
    fn to_toml(&self) -> Option<Value>;
}

/// What there is to know of a key apart from its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The key's name within its section.
    pub(crate) name: &'static str,
    /// Its description, one line of text per line.
    pub(crate) doc: &'static str,
    /// What a person may write.
    pub(crate) expects: &'static str,
    /// A TOML value to show where the default is "not set".
    pub(crate) example: Option<&'static str>,
    /// Whether its flag may be repeated.
    pub(crate) repeats: bool,
}

/// A table of the configuration file.
pub(crate) trait Section {
    /// The keys, in the order of the reference.
    fn keys(&self) -> &'static [Key];

    /// Sets the key number `index` from a file's value.
    fn set_toml(&mut self, index: usize, value: Value) -> Result<(), String>;

    /// Sets the key number `index` from a flag's or a variable's text.
    fn set_text(&mut self, index: usize, text: &str) -> Result<(), String>;

    /// The value of the key number `index`; `None` when it is not set.
    fn get(&self, index: usize) -> Option<Value>;
}

/// Defines a section: `name: Type = default` with a doc comment each; `=> "example"` where the default is unset.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr $(=> $example:literal)?
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::setting::Section for $section {
            fn keys(&self) -> &'static [$crate::config::setting::Key] {
                const {
                    &[$( $crate::config::setting::Key {
                        name: stringify!($field),
                        doc: concat!($($doc, "\n"),+),
                        expects: <$type as $crate::config::setting::Setting>::EXPECTS,
                        example: $crate::config::setting::section!(@example $($example)?),
                        repeats: <$type as $crate::config::setting::Setting>::REPEATS,
                    } ),+]
                }
            }

            fn set_toml(&mut self, index: usize, value: toml::Value) -> Result<(), String> {
                match self.keys()[index].name {
                    $( stringify!($field) => {
                        self.$field = $crate::config::setting::Setting::from_toml(value)?;
                    } )+
                    _ => unreachable!("every key has its arm"),
                }
                Ok(())
            }

            fn set_text(&mut self, index: usize, text: &str) -> Result<(), String> {
                match self.keys()[index].name {
                    $( stringify!($field) => {
                        self.$field = $crate::config::setting::Setting::from_text(text)?;
                    } )+
                    _ => unreachable!("every key has its arm"),
                }
                Ok(())
            }

            fn get(&self, index: usize) -> Option<toml::Value> {
                match self.keys()[index].name {
                    $( stringify!($field) => $crate::config::setting::Setting::to_toml(&self.$field), )+
                    _ => unreachable!("every key has its arm"),
                }
            }
        }
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}
pub(crate) use section;
