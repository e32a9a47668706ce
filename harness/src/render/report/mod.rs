//! The report of a run as one HTML file that needs nothing else: data, style and scripts are inside.
//!
//! The data is JSON in a script element, and the scripts put every text of it in as text. They draw; all numbers come from
//! [`Report`](crate::report::Report).

use anyhow::Result;

use crate::report::Report;

const TEMPLATE: &str = include_str!("template.html");
const STYLE: &str = include_str!("style.css");

/// In the order in which they build on each other.
const SCRIPTS: [&str; 7] = [
    include_str!("dom.js"),
    include_str!("charts.js"),
    include_str!("graph.js"),
    include_str!("plan.js"),
    include_str!("query.js"),
    include_str!("arms.js"),
    include_str!("overview.js"),
];

/// Renders a report.
pub(crate) fn render(report: &Report<'_>) -> Result<String> {
    let data = escaped(&serde_json::to_string(report)?);
    // The data comes last, so that nothing in it is taken for a place to be filled.
    let page = TEMPLATE
        .replacen("/*STYLE*/", STYLE, 1)
        .replacen("/*SCRIPT*/", &SCRIPTS.concat(), 1)
        .replacen("/*DATA*/", &data, 1);
    Ok(page)
}

/// JSON that cannot end the element it stands in, nor begin a comment there. Outside of strings JSON has no `<`.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_in_its_element() {
        let json = serde_json::to_string("</script><!-- <b>").unwrap();
        let escaped = escaped(&json);
        assert!(!escaped.contains('<'), "{escaped}");
        let back: String = serde_json::from_str(&escaped).unwrap();
        assert_eq!(back, "</script><!-- <b>");
    }

    #[test]
    fn the_template_has_each_place_once() {
        for place in ["/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"] {
            assert_eq!(TEMPLATE.matches(place).count(), 1, "{place}");
            for part in SCRIPTS.iter().chain([&STYLE]) {
                assert!(!part.contains(place) && !part.contains("</script"));
            }
        }
    }
}
