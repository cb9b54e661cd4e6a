//! How a section of the configuration is declared: each key once, with its type, default, range and text. The struct of its
//! settings, the keys' names in code, the documented configuration and what `check` prints are all made of that.

/// Declares a section: `"channel.redis" struct Redis { … }`, and in it each key as
/// `name: Type = default, value type;` under the text that operators and rustdoc read. `where api = ["v2"]` behind the value type
/// says for which values of another key of the section there is such a key.
///
/// Made of it are the struct with a field a key, a constant a key under the key's own name (`Redis::timeout`, which displays as
/// `channel.redis.timeout`), and `Redis::SECTION`. `as "type"` spells a key other than its field; a key without a type has no
/// field. `checks` names the function that checks the section's values against each other. `on reload` says when a change of a key takes
/// effect (a variant of [`Reload`](super::schema::Reload)): behind a key of that one, at the end of all others of the section.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $path:literal $vis:vis struct $Section:ident $(derives $($derive:ident),+)? {
            $(
                $(#[doc = $text:literal])+
                $name:ident $(as $spelled:literal)? $(: $type:ty)? = $default:expr, $takes:expr
                $(, where $chooser:ident = $words:expr)? $(, on reload $when:ident)?;
            )+
        }
        $(checks $check:path;)?
        on reload $reload:ident;
    ) => {
        section! {
            @fields [$vis] {
                $(#[doc = $about])+
                #[derive(Clone, Debug, PartialEq $($(, $derive)+)?)]
                // An address in brackets is no link.
                #[allow(rustdoc::broken_intra_doc_links)]
                $vis struct $Section
            } {}
            $($(#[doc = $text])+ $name $(: $type)?;)+
        }

        // A key is called in code as it is in a file.
        #[allow(non_upper_case_globals)]
        impl $Section {
            $(
                #[doc = concat!("`", $path, ".", section!(@spelled $name $($spelled)?), "`")]
                $vis const $name: &'static $crate::config::schema::Key = &$crate::config::schema::Key {
                    path: concat!($path, ".", section!(@spelled $name $($spelled)?)),
                    value_type: $takes,
                    only: {
                        let only: Option<$crate::config::schema::Only> = None;
                        $(
                            let _ = only;
                            let only = Some($crate::config::schema::Only { chooser: stringify!($chooser), words: &$words });
                        )?
                        only
                    },
                    default: $default,
                    reload: section!(@reload $reload $($when)?),
                    doc: concat!($($text),+),
                };
            )+

            pub(in $crate::config) const SECTION: $crate::config::schema::Section = $crate::config::schema::Section {
                path: $path,
                doc: concat!($($about),+),
                keys: &[$(Self::$name),+],
                reload: $crate::config::schema::Reload::$reload,
                check: { let check: fn(&mut $crate::config::cross_checks::CrossChecks<'_>) = |_| (); $(let _ = check; let check = $check;)? check },
            };

            pub(in $crate::config) fn build(values: &$crate::config::values::Values) -> Option<Self> {
                Some(Self { $($($name: <$type as $crate::config::setting::Setting>::of(values, Self::$name)?,)?)+ })
            }
        }
    };
    (@reload $of_section:ident) => { $crate::config::schema::Reload::$of_section };
    (@reload $of_section:ident $own:ident) => { $crate::config::schema::Reload::$own };
    (@spelled $name:ident) => { stringify!($name) };
    (@spelled $name:ident $spelled:literal) => { $spelled };
    (@fields [$vis:vis] { $($head:tt)+ } { $($fields:tt)* }) => { $($head)+ { $($fields)* } };
    (@fields [$vis:vis] $head:tt { $($fields:tt)* } $(#[doc = $text:literal])+ $name:ident : $type:ty; $($rest:tt)*) => {
        section! { @fields [$vis] $head { $($fields)* $(#[doc = $text])+ $vis $name: $type, } $($rest)* }
    };
    (@fields [$vis:vis] $head:tt $fields:tt $(#[doc = $text:literal])+ $name:ident; $($rest:tt)*) => {
        section! { @fields [$vis] $head $fields $($rest)* }
    };
}

/// Declares the words that a key chooses from. One that stands for a section has the section's settings with it.
macro_rules! choice {
    ($(#[$about:meta])+ $vis:vis enum $Choice:ident { $($(#[$text:meta])+ $variant:ident $(($section:ty))? = $word:literal,)+ }) => {
        $(#[$about])+
        $vis enum $Choice { $($(#[$text])+ $variant $(($section))?,)+ }

        impl $Choice {
            pub(in $crate::config) const WORDS: $crate::config::value_type::ValueType =
                $crate::config::value_type::ValueType::Choice { words: &[$($word),+], aliases: &[] };
        }

        impl $crate::config::setting::Setting for $Choice {
            fn of(values: &$crate::config::values::Values, key: &'static $crate::config::schema::Key) -> Option<Self> {
                match String::of(values, key)?.as_str() {
                    $($word => Some(Self::$variant $((<$section>::build(values)?))?),)+
                    _ => None,
                }
            }
        }
    };
}
