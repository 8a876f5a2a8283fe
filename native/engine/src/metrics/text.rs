//! Families as exposition text, in Prometheus' form or OpenMetrics'.
//!
//! A thousand proxies make tens of thousands of lines at every scrape, so they are written here and not by whoever
//! serves them. The page's other families are written in Python (`admin/exposition.py`), which is the twin that a test
//! holds this against.

use std::io::Write;

use super::{Family, Kind, Samples};

/// Appends the families, without OpenMetrics' end mark.
pub fn write_families(out: &mut Vec<u8>, families: &[Family], openmetrics: bool) {
    for family in families {
        write_family(out, family, openmetrics);
    }
}

fn write_family(out: &mut Vec<u8>, family: &Family, openmetrics: bool) {
    let total = if family.kind == Kind::Counter {
        "_total"
    } else {
        ""
    };
    let name = family.name;
    // OpenMetrics names a counter's family without the suffix of its series.
    let family_total = if openmetrics { "" } else { total };
    let kind = family.kind.as_str();
    print(
        out,
        format_args!("# HELP {name}{family_total} {}\n", family.help),
    );
    print(out, format_args!("# TYPE {name}{family_total} {kind}\n"));
    match &family.samples {
        Samples::Numbers(samples) => {
            for sample in samples {
                print(out, format_args!("{name}{total}"));
                write_labels(out, family.labels, &sample.labels, None);
                print(out, format_args!(" {}\n", sample.value));
            }
        }
        Samples::Histograms(bounds_ns, samples) => {
            let unit_ns = family.unit_ns();
            let bounds: Vec<String> = bounds_ns
                .iter()
                .map(|&bound_ns| bound_ns as f64 / unit_ns)
                .map(|bound| {
                    if openmetrics {
                        format!("{bound:?}")
                    } else {
                        format!("{bound}")
                    }
                })
                .chain(["+Inf".to_owned()])
                .collect();
            for sample in samples {
                for (bound, count) in bounds.iter().zip(&sample.cumulative_counts) {
                    print(out, format_args!("{name}_bucket"));
                    write_labels(out, family.labels, &sample.labels, Some(bound));
                    print(out, format_args!(" {count}\n"));
                }
                let count = sample.cumulative_counts.last().copied().unwrap_or(0);
                print(out, format_args!("{name}_count"));
                write_labels(out, family.labels, &sample.labels, None);
                print(out, format_args!(" {count}\n{name}_sum"));
                write_labels(out, family.labels, &sample.labels, None);
                print(out, format_args!(" {:?}\n", sample.sum_ns as f64 / unit_ns));
            }
        }
    }
}

fn write_labels(out: &mut Vec<u8>, names: &[&str], values: &[String], bound: Option<&String>) {
    let mut separator = b'{';
    let mut write = |name: &str, value: &str| {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    };
    if let Some(bound) = bound {
        write("le", bound);
    }
    for (name, value) in names.iter().zip(values) {
        write(name, value);
    }
    if separator == b',' {
        out.push(b'}');
    }
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes everything");
}
