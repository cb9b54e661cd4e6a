//! The style sheet, the script and the icons: part of the binary. Browsers keep the first two for good, since their addresses change
//! with them.

use std::sync::LazyLock;

/// A file that belongs to the page.
#[derive(Debug)]
pub struct Asset {
    /// For the header.
    pub content_type: &'static str,
    /// The file.
    pub body: &'static str,
    /// Whether its name changes with it, so that it may be kept for good.
    pub is_of_its_name: bool,
}

static STYLE: &str = include_str!("assets/style.css");
static SCRIPT: &str = include_str!("assets/page.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| format!("style.{:08x}.css", crc32fast::hash(STYLE.as_bytes())));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| format!("page.{:08x}.js", crc32fast::hash(SCRIPT.as_bytes())));

/// The icons of a browser's tab, by the level of the verdict.
static ICONS: &[(&str, &str)] = &[
    ("well.svg", include_str!("assets/well.svg")),
    ("attention.svg", include_str!("assets/attention.svg")),
    ("held.svg", include_str!("assets/held.svg")),
    ("stopping.svg", include_str!("assets/stopping.svg")),
];

/// The name of the style sheet below `/assets/`.
pub(super) fn style() -> &'static str {
    &STYLE_NAME
}

/// The name of the script below `/assets/`.
pub(super) fn script() -> &'static str {
    &SCRIPT_NAME
}

/// The file with this name below `/assets/`.
#[must_use]
pub fn asset(name: &str) -> Option<Asset> {
    match name {
        name if name == *STYLE_NAME => Some(Asset { content_type: "text/css; charset=utf-8", body: STYLE, is_of_its_name: true }),
        name if name == *SCRIPT_NAME => {
            Some(Asset { content_type: "text/javascript; charset=utf-8", body: SCRIPT, is_of_its_name: true })
        }
        name => {
            let (_, body) = ICONS.iter().find(|(icon, _)| *icon == name)?;
            Some(Asset { content_type: "image/svg+xml", body, is_of_its_name: false })
        }
    }
}
