//! The generated pages of `docs/reference`: written from the lists that the program itself reads.
//!
//! Each function gives the text of one page. A test of the program compares them with the files.
//! To add a page, add a function and its line in [`PAGES`].

use std::fmt::Write as _;

use twoticks_core::metric::{METRICS, Value};
use twoticks_wire::code::Code;

use crate::ops::{OPERATIONS, VERSION};
use crate::telemetry::SERIES;

/// A page that is generated here.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Its file name in `docs/reference`.
    pub name: &'static str,
    /// Its text.
    pub text: fn() -> String,
}

/// Every page that is generated here.
pub const PAGES: &[Page] = &[
    Page { name: "api.md", text: api },
    Page { name: "errors.md", text: errors },
    Page { name: "metrics.md", text: metrics },
];

/// Goes below the title of each page.
const GENERATED: &str = "<!-- Generated: run the tests with UPDATE=1 to write it anew. -->\n";

/// The operations: what they take, what they answer.
#[must_use]
pub fn api() -> String {
    let mut page = format!(
        "# Operations\n{GENERATED}\nCAMS, version {VERSION}, RPC style: `GET` or `POST` on `/`, \
         parameters in the query or in a form body.\nEvery answer has `RequestId`, `Code`, \
         `Message` and `AccessDeniedDetail` besides what is listed.\nA parameter without a value \
         counts as absent.\nFailures: [errors.md](errors.md).\n"
    );
    for operation in OPERATIONS {
        let mut section = format!(
            "\n## {}\n\n{}\n\nAt most {} calls a second per user; needs `cams:{}`.\n\n\
             | parameter | type | required | |\n| --- | --- | --- | --- |\n",
            operation.name, operation.summary, operation.qps, operation.name
        );
        for parameter in operation.parameters {
            let required = if parameter.required { "yes" } else { "" };
            line(&mut section, &[&code(parameter.name), parameter.kind, required, parameter.doc]);
        }
        if !operation.returns.is_empty() {
            section.push_str("\n| answer | type | |\n| --- | --- | --- |\n");
            for field in operation.returns {
                line(&mut section, &[&code(field.name), field.kind, field.doc]);
            }
        }
        page.push_str(&section);
    }
    page
}

/// The error codes: one row each.
#[must_use]
pub fn errors() -> String {
    let mut page = format!(
        "# Error codes\n{GENERATED}\nA failure has `RequestId`, `HostId`, `Code`, `Message` and \
         `Recommend`; `{{P}}` is the name of a parameter.\n\n\
         | code | status | when | message |\n| --- | --- | --- | --- |\n"
    );
    for row in Code::ALL {
        let when = row.doc().split_whitespace().collect::<Vec<_>>().join(" ");
        let status = row.status().to_string();
        line(&mut page, &[&code(row.template()), &status, &when, row.message()]);
    }
    page
}

/// The figures of the product, and the series of `/metrics`.
#[must_use]
pub fn metrics() -> String {
    let mut page = format!(
        "# Metrics\n{GENERATED}\n## Figures\n\nWhat the answers and the pages show.\n\n\
         | name | kind | |\n| --- | --- | --- |\n"
    );
    for metric in METRICS {
        let kind = match metric.value {
            Value::Count(_) => "count",
            Value::Share { .. } => "share",
        };
        line(&mut page, &[&code(metric.name), kind, metric.help]);
    }
    page.push_str(
        "\n## Series of `/metrics`\n\nFor the operator, in OpenMetrics; counters end in `_total` \
         there and start at zero with the process.\n\n\
         | name | kind | labels | |\n| --- | --- | --- | --- |\n",
    );
    for series in SERIES {
        let labels: Vec<String> = series.labels.iter().map(|label| code(label)).collect();
        line(&mut page, &[&code(series.name), series.kind, &labels.join(", "), series.help]);
    }
    page
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// One line of a table; a `|` in a cell would end it.
fn line(page: &mut String, cells: &[&str]) {
    for cell in cells {
        write!(page, "| {} ", cell.replace('|', "\\|")).expect("writing to a `String` never fails");
    }
    page.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_on_its_page() {
        let (api, errors, metrics) = (api(), errors(), metrics());
        for operation in OPERATIONS {
            assert!(api.contains(&format!("## {}\n", operation.name)), "{}", operation.name);
        }
        for row in Code::ALL {
            assert!(errors.contains(&format!("| `{}` |", row.template())), "{}", row.template());
        }
        for series in SERIES {
            assert!(metrics.contains(&format!("| `{}` |", series.name)), "{}", series.name);
        }
        for page in PAGES {
            assert!((page.text)().starts_with("# "), "{}", page.name);
        }
    }
}
