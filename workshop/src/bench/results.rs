//! Everything that was measured, as a value that can be printed, drawn, kept and read again.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::figures::{Figure, Figures};

/// Measurements that were taken in one go.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) machine: String,
    pub(super) scenes: Vec<Table>,
}

/// One scene, and everyone who played in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) scene: String,
    pub(super) title: String,
    /// Which figures its columns show, the one it is about first.
    pub(super) figures: Vec<Figure>,
    pub(super) rows: Vec<Row>,
}

/// One server in one scene.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) server: String,
    /// In the order they were run. Rounds of the same number ran right after one another.
    pub(super) rounds: Vec<Figures>,
    /// What was counted in runs of its own.
    pub(super) counts: Figures,
    /// Why there is nothing here.
    pub(super) left_out: Option<String>,
}

/// The middle one of some values, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Results {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let name = || format!("cannot read results from {}", file.display());
        let text = fs::read_to_string(file).with_context(name)?;
        serde_json::from_str(&text).with_context(name)
    }

    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Opens the file as [`Results::write`] will, and leaves what it holds.
    pub(super) fn can_be_written(file: &Path) -> anyhow::Result<()> {
        let is_new = !file.exists();
        let opened = File::options().append(true).create(true).open(file);
        opened.with_context(|| format!("cannot write {}", file.display()))?;
        if is_new {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// Adds others of the same machine: more scenes, more servers, more rounds.
    pub(super) fn merge(&mut self, other: Self) {
        self.machine = other.machine;
        for table in other.scenes {
            match self.scenes.iter_mut().find(|ours| ours.scene == table.scene) {
                Some(ours) => ours.merge(table),
                None => self.scenes.push(table),
            }
        }
    }

    pub(super) fn table(&self, scene: &str) -> Option<&Table> {
        self.scenes.iter().find(|table| table.scene == scene)
    }
}

impl Table {
    fn merge(&mut self, other: Self) {
        for row in other.rows {
            match self.rows.iter_mut().find(|ours| ours.server == row.server) {
                Some(ours) => {
                    ours.rounds.extend(row.rounds);
                    ours.counts.extend(row.counts);
                    ours.left_out = ours.left_out.take().or(row.left_out);
                }
                None => self.rows.push(row),
            }
        }
    }

    pub(super) fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }
}

impl Row {
    pub(super) fn new(server: &str) -> Self {
        let server = server.to_owned();
        Self { server, rounds: Vec::new(), counts: Figures::new(), left_out: None }
    }

    pub(super) fn figure(&self, figure: Figure) -> Option<Summary> {
        if let Some(&count) = self.counts.get(&figure) {
            return Summary::of(vec![count]);
        }
        Summary::of(self.rounds.iter().filter_map(|round| round.get(&figure).copied()).collect())
    }

    /// Round by round, since what disturbs the machine disturbs neighbours alike.
    pub(super) fn ratio(&self, reference: &Self, figure: Figure) -> Option<Summary> {
        let pairs = self.rounds.iter().zip(&reference.rounds);
        let ratios =
            pairs.filter_map(|(ours, theirs)| Some(ours.get(&figure)? / theirs.get(&figure)?));
        Summary::of(ratios.filter(|ratio| ratio.is_finite()).collect())
    }
}

impl Summary {
    /// `None` of nothing.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &str, per_second: &[f64]) -> Row {
        let rounds = per_second.iter().map(|&v| Figures::from([(Figure::PerSecond, v)])).collect();
        Row { rounds, ..Row::new(server) }
    }

    #[test]
    fn one_outlier_does_not_move_the_median_and_is_seen_in_the_spread() {
        let summary = row("c", &[100.0, 1.0, 102.0]).figure(Figure::PerSecond);
        assert_eq!(summary, Some(Summary { median: 100.0, min: 1.0, max: 102.0 }));
        assert_eq!(row("c", &[]).figure(Figure::PerSecond), None);
        assert_eq!(row("c", &[1.0, 2.0]).figure(Figure::PerSecond).unwrap().median, 1.5);
    }

    #[test]
    fn a_ratio_compares_neighbouring_rounds() {
        // The machine was half as fast in the second round, for both.
        let ratio = row("a", &[110.0, 55.0]).ratio(&row("c", &[100.0, 50.0]), Figure::PerSecond);
        let ratio = ratio.unwrap();
        assert!((ratio.min - 1.1).abs() < 1e-9 && (ratio.max - 1.1).abs() < 1e-9);
    }

    #[test]
    fn results_can_be_written_and_read_and_put_together() {
        let table = |rows| Table {
            scene: "ask-1".into(),
            title: "t".into(),
            figures: vec![Figure::PerSecond],
            rows,
        };
        let mut first =
            Results { machine: "m".into(), scenes: vec![table(vec![row("c", &[1.0])])] };
        let text = serde_json::to_string(&first).unwrap();
        first.merge(serde_json::from_str(&text).unwrap());
        first.merge(Results { machine: "m".into(), scenes: vec![table(vec![row("a", &[3.0])])] });
        assert_eq!(first.scenes.len(), 1);
        assert_eq!(first.scenes[0].row("c").unwrap().rounds.len(), 2);
        assert_eq!(first.scenes[0].row("a").unwrap().rounds.len(), 1);
    }
}
