//! A plan as a diagram: Mermaid and Graphviz. Rows flow upwards, the root is at the top.

use crate::explanation::OperatorLine;
use crate::render::explain::brief;
use crate::render::rows;

/// Longer texts of operators would make boxes too wide to be seen together.
const LONGEST_TEXT: usize = 60;

/// Keeps two characters apart, and is not seen.
const NO_WIDTH: char = '\u{200b}';

/// A flowchart for Mermaid.
pub(crate) fn mermaid(operators: &[OperatorLine<'_>]) -> String {
    let mut out = "flowchart BT\n".to_owned();
    for (at, operator) in operators.iter().enumerate() {
        let label: Vec<String> = label(operator).iter().map(|l| mermaid_text(l)).collect();
        out.push_str(&format!("  n{at}[\"{}\"]\n", label.join("<br/>")));
    }
    for (from, to, operator) in edges(operators) {
        let text = match flow(operator) {
            Some(text) => format!("|\"{}\"|", mermaid_text(&text)),
            None => String::new(),
        };
        out.push_str(&format!("  n{from} -->{text} n{to}\n"));
    }
    let joins = (operators.iter().enumerate()).filter(|(_, operator)| operator.joins);
    let joins: Vec<String> = joins.map(|(at, _)| format!("n{at}")).collect();
    if !joins.is_empty() {
        out.push_str("  classDef join stroke-width:2px,font-weight:bold\n");
        out.push_str(&format!("  class {} join\n", joins.join(",")));
    }
    out
}

/// A directed graph for Graphviz.
pub(crate) fn dot(operators: &[OperatorLine<'_>]) -> String {
    let mut out = "digraph plan {\n  rankdir=BT;\n  node [shape=box, fontname=\"sans-serif\"];\n  \
                   edge [fontname=\"sans-serif\"];\n"
        .to_owned();
    for (at, operator) in operators.iter().enumerate() {
        let label: Vec<String> = label(operator).iter().map(|l| dot_text(l)).collect();
        let bold = if operator.joins { ", style=bold" } else { "" };
        out.push_str(&format!(
            "  n{at} [label=\"{}\"{bold}];\n",
            label.join("\\n")
        ));
    }
    for (from, to, operator) in edges(operators) {
        let text = match flow(operator) {
            Some(text) => format!(" [label=\"{}\"]", dot_text(&text)),
            None => String::new(),
        };
        out.push_str(&format!("  n{from} -> n{to}{text};\n"));
    }
    out.push_str("}\n");
    out
}

/// The lines of an operator's box.
fn label(operator: &OperatorLine<'_>) -> Vec<String> {
    let name = match operator.table {
        Some(table) => format!("{} {table}", operator.name),
        None => operator.name.to_owned(),
    };
    let mut lines = vec![name];
    let text = brief(operator.text, LONGEST_TEXT);
    if !text.is_empty() && operator.table != Some(operator.text) {
        lines.push(text);
    }
    // Those below the root stand on its edge.
    if operator.depth == 0 {
        lines.extend(flow(operator));
    }
    lines
}

/// What comes out of an operator.
fn flow(operator: &OperatorLine<'_>) -> Option<String> {
    let mut words = vec![];
    if let Some(role) = operator.role {
        words.push(role.as_str().to_owned());
    }
    let at_least = if operator.cut { "≥ " } else { "" };
    match (operator.est_rows, operator.rows) {
        (Some(expected), Some(counted)) => words.push(format!(
            "{at_least}{} rows, {} expected",
            rows(counted as f64),
            rows(expected)
        )),
        (Some(expected), None) => words.push(format!("{} rows expected", rows(expected))),
        (None, Some(counted)) => words.push(format!("{at_least}{} rows", rows(counted as f64))),
        (None, None) => {}
    }
    (!words.is_empty()).then(|| words.join(": "))
}

/// From each operator to the one above it, by position.
fn edges<'a>(
    operators: &'a [OperatorLine<'a>],
) -> impl Iterator<Item = (usize, usize, &'a OperatorLine<'a>)> {
    // By depth: the last operator met there.
    let mut above: Vec<usize> = vec![];
    operators.iter().enumerate().filter_map(move |(at, own)| {
        above.truncate(own.depth);
        let parent = above.last().copied();
        above.push(at);
        Some((at, parent?, own))
    })
}

/// Within quotes Mermaid still reads markup and entities, takes a backtick for the begin of Markdown, and `%%` for that of a comment.
/// Entities do not keep it from taking `$$` for the begin of a formula, `\n` for the end of a line, and `fa:fa-car` for an icon; a space of
/// no width does.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let next = rest.as_str();
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' => out.push_str(&format!("#{};", u32::from(c))),
            '%' if out.ends_with("#37;") || next.starts_with('%') => out.push_str("#37;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        if (c, next.chars().next()) == ('$', Some('$'))
            || c == '\\'
            || (c == ':' && next.starts_with("fa-"))
        {
            out.push(NO_WIDTH);
        }
    }
    out
}

/// Within quotes Graphviz reads escapes alone.
fn dot_text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::tests::{details, lines};

    #[test]
    fn diagrams_quote_what_they_show() {
        let details = details();
        let lines = lines(&details);
        insta::assert_snapshot!(mermaid(&lines), @r#"
        flowchart BT
          n0["HashJoinExec<br/>mode=Partitioned, join_type=Inner<br/>100 rows, 50 expected"]
          n1["DataSourceExec t #34;x#34;"]
          n2["SortExec<br/>a #60;b#62;"]
          n3["DataSourceExec u"]
          n1 -->|"build: 7 rows, 7 expected"| n0
          n2 -->|"probe: 40 rows"| n0
          n3 -->|"≥ 20 rows, 40 expected"| n2
          classDef join stroke-width:2px,font-weight:bold
          class n0 join
        "#);
        insta::assert_snapshot!(dot(&lines), @r#"
        digraph plan {
          rankdir=BT;
          node [shape=box, fontname="sans-serif"];
          edge [fontname="sans-serif"];
          n0 [label="HashJoinExec\nmode=Partitioned, join_type=Inner\n100 rows, 50 expected", style=bold];
          n1 [label="DataSourceExec t \"x\""];
          n2 [label="SortExec\na <b>"];
          n3 [label="DataSourceExec u"];
          n1 -> n0 [label="build: 7 rows, 7 expected"];
          n2 -> n0 [label="probe: 40 rows"];
          n3 -> n2 [label="≥ 20 rows, 40 expected"];
        }
        "#);
    }

    #[test]
    fn texts_that_are_markup() {
        assert_eq!(mermaid_text("a\"b#c`\n"), "a#34;b#35;c#96; ");
        assert_eq!(mermaid_text("<b>&"), "#60;b#62;#38;");
        assert_eq!(
            mermaid_text(r"$$x$ \n fa:fa-car"),
            "$\u{200b}$x$ \\\u{200b}n fa:\u{200b}fa-car"
        );
        assert_eq!(
            mermaid_text("a % %%{b%%% c%"),
            "a % #37;#37;{b#37;#37;#37; c%"
        );
        // Brackets, semicolons and links are text within quotes.
        assert_eq!(mermaid_text("[é{漢}] --- n0; end"), "[é{漢}] --- n0; end");
        assert_eq!(dot_text("a\"b\\N\n<b>"), "a\\\"b\\\\N <b>");
    }
}
