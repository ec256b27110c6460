//! Manifests as text: sections between blank lines, and in them one dependency a line. A TOML library would lose the
//! comments, which say why a dependency is there; `workshop/tests/outside.rs` has cargo read what comes out.

/// The names of the packages in a lock file.
pub(super) fn packages(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines().filter_map(|line| line.strip_prefix("name = ")).map(|name| name.trim_matches('"'))
}

/// A stage's manifest, without the dependencies that only its examples and exercises use.
pub(super) fn only_used(manifest: &str, sources: &str) -> String {
    let is_used = |name: &str| sources.contains(&format!("{}::", name.replace('-', "_")));
    let kept =
        sections(manifest).into_iter().map(|section| match section.is_about_dependencies() {
            true => section.with_only(is_used),
            false => section.0.to_owned(),
        });
    kept.collect::<Vec<_>>().join("\n")
}

/// The dependencies of several manifests that the sources use: those of the first, and what the others have besides.
pub(crate) fn dependencies(manifests: &[String], sources: &str) -> String {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for manifest in manifests.iter().map(|manifest| only_used(manifest, sources)) {
        for section in sections(&manifest).iter().filter(|it| it.is_about_dependencies()) {
            let place = tables.iter().position(|(head, _)| head == section.head());
            let place = place.unwrap_or_else(|| {
                tables.push((section.head().to_owned(), Vec::new()));
                tables.len() - 1
            });
            for line in section.0.lines().filter(|line| *line != section.head()) {
                if !tables[place].1.iter().any(|known| known == line) {
                    tables[place].1.push(line.to_owned());
                }
            }
        }
    }
    tables.retain(|(_, lines)| !lines.is_empty());
    let tables = tables.iter().map(|(head, lines)| format!("{head}\n{}\n", lines.join("\n")));
    tables.collect::<Vec<_>>().join("\n")
}

/// What manifests like these take from their workspace: the tables that they inherit, and the profiles.
pub(crate) fn workspace(manifest: &str, members: &[&str]) -> String {
    let is_named = |name: &str| {
        let by = |line: &str| {
            line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} "))
        };
        name == "common" || members.iter().any(|member| member.lines().any(by))
    };
    let ours = sections(manifest).into_iter().map(|section| match section.head() {
        "[workspace]" => {
            let resolver = section.0.lines().find(|line| line.starts_with("resolver"));
            format!("[workspace]\n{}\nmembers = [\"common\"]\n", resolver.unwrap_or_default())
        }
        _ if section.is_about_dependencies() => section.with_only(is_named),
        _ => section.0.to_owned(),
    });
    // cargo warns of a profile for a package that is not there.
    let is_of_a_stranger = |section: &String| match Section(section).package_of_profile() {
        Some(package) => package != "*" && !is_named(package),
        None => false,
    };
    ours.filter(|section| !is_of_a_stranger(section)).collect::<Vec<_>>().join("\n")
}

/// What tells cargo that all crates are in a folder. From `.cargo/config.toml`, a relative path begins beside `.cargo`.
pub(crate) fn vendored(folder: &str) -> String {
    format!(
        "[source.crates-io]\nreplace-with = \"vendored-sources\"\n\n\
         [source.vendored-sources]\ndirectory = \"{folder}\"\n"
    )
}

/// A table with its comments, up to and with its last line end.
struct Section<'t>(&'t str);

fn sections(manifest: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut start = 0;
    for (blank, _) in manifest.match_indices("\n\n") {
        sections.push(Section(&manifest[start..=blank]));
        start = blank + 2;
    }
    sections.push(Section(&manifest[start..]));
    sections
}

impl Section<'_> {
    fn head(&self) -> &str {
        self.0.lines().find(|line| line.starts_with('[')).unwrap_or_default()
    }

    /// `[profile.dev.package.mio]` is about mio.
    fn package_of_profile(&self) -> Option<&str> {
        let (profile, package) = self.head().split_once(".package.")?;
        profile.starts_with("[profile.").then(|| package.trim_matches(['"', ']']))
    }

    fn is_about_dependencies(&self) -> bool {
        self.head().ends_with("dependencies]")
    }

    /// The section with those entries whose name passes, and with the comments above them.
    fn with_only(&self, keep: impl Fn(&str) -> bool) -> String {
        let (mut kept, mut comments) = (String::new(), String::new());
        for line in self.0.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            match line.starts_with('#') {
                true => comments += &format!("{line}\n"),
                false if line.starts_with('[') || keep(name) => {
                    kept += &format!("{}{line}\n", std::mem::take(&mut comments));
                }
                false => comments.clear(),
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_keeps_the_dependencies_that_its_sources_use() {
        let manifest = "[package]\nname = \"a\"\n\n[dependencies]\n# Why.\nmio.workspace = true\n# Why not.\ntokio.workspace = true\n";
        let expected = "[package]\nname = \"a\"\n\n[dependencies]\n# Why.\nmio.workspace = true\n";
        assert_eq!(only_used(manifest, "use mio::Poll;"), expected);
    }

    #[test]
    fn a_workspace_keeps_what_its_members_name() {
        let manifest = "[workspace]\nresolver = \"3\"\nmembers = [\n    \"x\",\n]\n\n# All.\n[workspace.dependencies]\n\
            common = { path = \"common\" }\n# A.\nmio = \"1\"\n# B.\nmio-more = \"2\"\n\n[profile.dev]\ndebug = false\n";
        let expected = "[workspace]\nresolver = \"3\"\nmembers = [\"common\"]\n\n# All.\n[workspace.dependencies]\n\
            common = { path = \"common\" }\n# A.\nmio = \"1\"\n\n[profile.dev]\ndebug = false\n";
        assert_eq!(workspace(manifest, &["[dependencies]\nmio.workspace = true\n"]), expected);
    }

    #[test]
    fn a_workspace_has_no_profile_of_a_package_that_it_does_not_use() {
        let manifest = "[workspace]\nresolver = \"3\"\n\n[profile.dev.package.\"*\"]\ndebug = false\n\n\
            # Why.\n[profile.dev.package.mio]\ndebug = false\n\n[profile.dev.package.simulation]\nopt-level = 3\n";
        let kept = workspace(manifest, &["mio.workspace = true\n"]);
        assert!(kept.contains("package.mio]") && kept.contains("\"*\"]"), "{kept}");
        assert!(!kept.contains("simulation") && !kept.contains("opt-level"), "{kept}");
    }

    #[test]
    fn dependencies_of_several_manifests_are_listed_once() {
        let first = "[package]\nname = \"a\"\n\n[dependencies]\ncommon.workspace = true\nmio.workspace = true\n";
        let second = "[dependencies]\ncommon.workspace = true\n\n[target.x.dependencies]\nnix.workspace = true\n\n\
            [dev-dependencies]\ntokio.workspace = true\n";
        let expected = "[dependencies]\ncommon.workspace = true\nmio.workspace = true\n\n\
            [target.x.dependencies]\nnix.workspace = true\n";
        let manifests = [first, second].map(str::to_owned);
        assert_eq!(dependencies(&manifests, "common::a mio::b nix::c"), expected);
    }

    #[test]
    fn the_packages_of_a_lock_file_have_names() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\n\n[[package]]\nname = \"b\"\n";
        assert_eq!(packages(lock).collect::<Vec<_>>(), ["a", "b"]);
    }
}
