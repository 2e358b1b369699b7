//! What a table of the configuration file may hold. [`table!`](crate::config::keys::table) makes of
//! one list of keys both the type that is parsed and the [`Table`] that the reference
//! (docs/configuration.md) is written from: a key that is read and not documented does not compile.

/// One table of the file, for people.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// As it stands in the file: `[pool.NAME]`; empty: the top level.
    pub place: &'static str,
    /// Lines of text.
    pub about: &'static [&'static str],
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name of the field that holds it; see [`Key::name`].
    pub field: &'static str,
    /// What may be written, in words: "duration", "list of addresses".
    pub kind: &'static str,
    pub usual: Usual,
    /// A value as TOML; empty for a key that is a table with a section of its own.
    pub example: &'static str,
    /// Lines of text.
    pub meaning: &'static [&'static str],
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usual {
    /// The same as with this value, in TOML.
    Is(&'static str),
    /// What this sentence says.
    Says(&'static str),
    /// Nothing that the key is about.
    Unset,
    /// It cannot be left out.
    Needed,
}

impl Key {
    /// As it is written in the file: kebab-case.
    pub fn name(&self) -> String {
        self.field.replace('_', "-")
    }
}

/// Defines a table of the file: the type that serde fills (every key optional, unknown ones
/// refused), and its `TABLE` for the reference. For each key: its meaning as a doc comment, field and
/// type, what may be written, the default, an example.
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $name:ident at $place:literal {
            $($(#[doc = $meaning:literal])+ $field:ident: $type:ty => $kind:literal, $usual:expr, $example:literal;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name {
            $($(#[doc = $meaning])+ pub $field: Option<$type>,)*
        }

        impl $name {
            /// For the reference.
            pub const TABLE: $crate::config::keys::Table = {
                #[allow(unused_imports, reason = "a table may have keys of one kind only")]
                use $crate::config::keys::Usual::{Is, Needed, Says, Unset};
                $crate::config::keys::Table {
                    place: $place,
                    about: &[$($about),*],
                    keys: &[$($crate::config::keys::Key {
                        field: stringify!($field),
                        kind: $kind,
                        usual: $usual,
                        example: $example,
                        meaning: &[$($meaning),+],
                    }),*],
                }
            };
        }
    };
}
pub(super) use table;
