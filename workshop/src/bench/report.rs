//! The tables, as text that a terminal and a book both show as tables.

use super::figures::Figure;
use super::peers::{C, TOKIO_CURRENT};
use super::results::{Row, Summary, Table};

/// What stands where there is no figure.
const DASH: &str = "–";

/// One column: its head, and what each row has in it.
struct Column<'a> {
    head: String,
    cell: Cell<'a>,
}

type Cell<'a> = Box<dyn Fn(&Row) -> Option<String> + 'a>;

impl Table {
    /// The table with its title, and below it why some rows are empty.
    pub(super) fn report(&self) -> String {
        let rounds = match self.rows.iter().map(|row| row.rounds.len()).max() {
            None | Some(0) => String::new(),
            Some(1) => String::from(", 1 round"),
            Some(rounds) => format!(", {rounds} rounds"),
        };
        let mut lines =
            vec![format!("### {} (`{}`{rounds})", self.title, self.scene), String::new()];
        let columns: Vec<_> = self.columns().into_iter().filter(|c| self.has_any(c)).collect();
        let heads = columns.iter().map(|column| column.head.clone());
        let mut cells = vec![[String::from("server")].into_iter().chain(heads).collect::<Vec<_>>()];
        for row in &self.rows {
            let figures = columns.iter().map(|c| (c.cell)(row).unwrap_or_else(|| DASH.to_owned()));
            cells.push([row.server.clone()].into_iter().chain(figures).collect());
        }
        lines.extend(aligned(&cells));
        let reasons =
            self.rows.iter().filter_map(|row| Some((&row.server, row.left_out.as_ref()?)));
        let reasons: Vec<_> = reasons.map(|(server, why)| format!("{server}: {why}.")).collect();
        if !reasons.is_empty() {
            lines.extend([String::new(), reasons.join(" ")]);
        }
        lines.join("\n") + "\n"
    }

    /// The first figure comes with its spread; it and the CPU time with their ratio to the reference.
    fn columns(&self) -> Vec<Column<'_>> {
        let mut columns = Vec::new();
        for (i, &figure) in self.figures.iter().enumerate() {
            columns.push(Column {
                head: figure.title().to_owned(),
                cell: Box::new(move |row| Some(figure.write(row.figure(figure)?.median))),
            });
            if i == 0 {
                columns.push(Column {
                    head: "from – to".to_owned(),
                    cell: Box::new(move |row| Some(spread(figure, row.figure(figure)?))),
                });
            }
            if figure.has_ratio() && (i == 0 || figure == Figure::CpuMicrosPerMessage) {
                columns.extend(self.ratio(figure));
            }
        }
        columns
    }

    fn ratio(&self, figure: Figure) -> Option<Column<'_>> {
        let reference = self.row(C).or_else(|| self.row(TOKIO_CURRENT))?;
        Some(Column {
            head: format!("of {}", reference.server),
            cell: Box::new(move |row| Some(ratio(row.ratio(reference, figure)?))),
        })
    }

    fn has_any(&self, column: &Column<'_>) -> bool {
        self.rows.iter().any(|row| (column.cell)(row).is_some())
    }
}

fn spread(figure: Figure, summary: Summary) -> String {
    format!("{} – {}", figure.write(summary.min), figure.write(summary.max))
}

fn ratio(summary: Summary) -> String {
    format!("{:.2} ({:.2} – {:.2})", summary.median, summary.min, summary.max)
}

/// The lines of a Markdown table, the first column to the left and the others to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(i, &width)| match i {
        0 => "-".repeat(width),
        _ => "-".repeat(width - 1) + ":",
    });
    let mut lines = vec![line(&rows[0]), format!("| {} |", rule.collect::<Vec<_>>().join(" | "))];
    lines.extend(rows[1..].iter().map(line));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figures;

    #[test]
    fn a_table_shows_medians_spreads_ratios_and_why_a_server_is_missing() {
        let row = |server: &str, rounds: &[f64]| Row {
            rounds: rounds.iter().map(|&v| Figures::from([(Figure::PerSecond, v)])).collect(),
            ..Row::new(server)
        };
        let mut out = row("stage1", &[]);
        out.left_out = Some("serves one client at a time".into());
        let table = Table {
            scene: "ask-64".into(),
            title: "Asking".into(),
            figures: vec![Figure::PerSecond, Figure::SyscallsPerMessage],
            rows: vec![out, row("stage5", &[900.0, 1100.0, 1000.0]), row("c", &[1000.0; 3])],
        };
        let expected = "\
### Asking (`ask-64`, 3 rounds)

| server | per s |   from – to |               of c |
| ------ | ----: | ----------: | -----------------: |
| stage1 |     – |           – |                  – |
| stage5 | 1,000 | 900 – 1,100 | 1.00 (0.90 – 1.10) |
| c      | 1,000 | 1,000 – 1,000 | 1.00 (1.00 – 1.00) |

stage1: serves one client at a time.
";
        let squeezed = |text: &str| text.replace([' ', '-'], "");
        assert_eq!(squeezed(&table.report()), squeezed(expected));
        let widths: Vec<_> =
            table.report().lines().skip(2).take(5).map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{widths:?}");
    }
}
