//! The rules of InfVerif that a primitive driver's INF can break, for machines without InfVerif. Each finding has InfVerif's
//! number; a build on Windows runs the real one.

use std::fmt::{self, Display};

use super::parse::{Inf, Line, Section};

/// Windows 10 2004: what the driver imports is not in earlier ones.
const OLDEST_BUILD: u32 = 19041;
const ARCHITECTURES: [&str; 2] = ["NTamd64", "NTarm64"];
/// Directives that change what is outside of the package, or that Windows no longer wants.
const LEGACY: [&str; 14] = [
    "BitReg",
    "DelFiles",
    "DelProperty",
    "DelReg",
    "DelService",
    "Ini2Reg",
    "LogConfig",
    "ProfileItems",
    "RegisterDlls",
    "RenFiles",
    "UnregisterDlls",
    "UpdateIniFields",
    "UpdateInis",
    "CoInstallers32",
];

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// InfVerif's number, 0 where it is not documented.
    rule: u32,
    line: usize,
    message: String,
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)?;
        if self.rule == 0 {
            Ok(())
        } else {
            write!(f, " (InfVerif {})", self.rule)
        }
    }
}

/// What is wrong with an INF that stampinf has filled in. Empty if nothing is.
pub(super) fn lint(text: &str) -> Vec<Finding> {
    let inf = Inf::parse(text);
    let mut lint = Lint {
        inf: &inf,
        findings: Vec::new(),
    };
    lint.syntax();
    lint.version();
    lint.entry_points();
    for section in inf.sections.iter().filter(|section| is_install(&section.name)) {
        lint.install(section);
    }
    lint.findings
}

struct Lint<'a> {
    inf: &'a Inf,
    findings: Vec<Finding>,
}

/// `[DefaultInstall…]` without an extension such as `.Services`.
fn is_install(name: &str) -> bool {
    starts_with(name, "DefaultInstall") && !ends_with(name, ".Services")
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn ends_with(text: &str, end: &str) -> bool {
    let start = text.len().checked_sub(end.len());
    start
        .and_then(|start| text.get(start..))
        .is_some_and(|text| text.eq_ignore_ascii_case(end))
}

impl<'a> Lint<'a> {
    fn found(&mut self, rule: u32, line: usize, message: impl Into<String>) {
        self.findings.push(Finding {
            rule,
            line,
            message: message.into(),
        });
    }

    fn syntax(&mut self) {
        for &line in &self.inf.stray {
            self.found(0, line, "a line outside of all sections");
        }
        for (line, name) in &self.inf.undefined {
            self.found(1235, *line, format!("%{name}% is not in [Strings]"));
        }
        for section in &self.inf.sections {
            for line in &section.lines {
                if let Some(directive) = LEGACY.into_iter().find(|directive| line.is(directive)) {
                    self.found(
                        1302,
                        line.number,
                        format!("{directive} does what a driver package must not"),
                    );
                }
            }
        }
    }

    fn version(&mut self) {
        let Some(version) = self.inf.section("Version") else {
            return self.found(1420, 1, "no [Version]");
        };
        for directive in ["Signature", "Provider", "Class", "ClassGuid", "DriverVer"] {
            if version.value_of(directive).unwrap_or_default().is_empty() {
                self.found(
                    1420,
                    version.number,
                    format!("[Version] has no {directive}: no primitive driver"),
                );
            }
        }
        if !ends_with(version.value_of("CatalogFile").unwrap_or_default(), ".cat") {
            self.found(1233, version.number, "no CatalogFile: the package cannot be signed");
        }
        if starts_with(version.value_of("Provider").unwrap_or_default(), "Microsoft") {
            self.found(1204, version.number, "the Provider is not Microsoft");
        }
        if version.value_of("PnpLockdown") != Some("1") {
            self.found(
                1324,
                version.number,
                "no PnpLockdown = 1: others could change the installed files",
            );
        }
        if let Some(line) = version.lines_of("DriverVer").next()
            && !is_version(line.value(1))
        {
            self.found(
                1217,
                line.number,
                format!("{:?} is no version of four numbers up to 65535", line.value(1)),
            );
        }
    }

    fn entry_points(&mut self) {
        if let Some(manufacturer) = self.inf.section("Manufacturer") {
            self.found(1212, manufacturer.number, "[Manufacturer] beside [DefaultInstall]");
        }
        let mut entry_points = 0;
        for section in &self.inf.sections {
            let name = section.name.as_str();
            if starts_with(name, "DefaultUninstall")
                && section.value_of("LegacyUninstall") != Some("1")
                && !ends_with(name, ".Services")
            {
                self.found(1420, section.number, format!("[{name}] makes this no primitive driver"));
            }
            let Some(decoration) = name.split_once('.').map(|(_, decoration)| decoration) else {
                if starts_with(name, "DefaultInstall") || starts_with(name, "DefaultUninstall") {
                    self.found(1421, section.number, format!("[{name}] has no architecture"));
                }
                continue;
            };
            if !is_install(name) {
                continue;
            }
            entry_points += 1;
            if !ARCHITECTURES.into_iter().any(|arch| starts_with(decoration, arch)) {
                self.found(
                    1421,
                    section.number,
                    format!("[{name}] is for neither of {}", ARCHITECTURES.join(", ")),
                );
            }
            if build(decoration).is_none_or(|build| build < OLDEST_BUILD) {
                self.found(
                    1199,
                    section.number,
                    format!("[{name}] admits Windows before build {OLDEST_BUILD}"),
                );
            }
        }
        if entry_points == 0 {
            self.found(1420, 1, "no [DefaultInstall.<architecture>]: no primitive driver");
        }
    }

    fn install(&mut self, install: &'a Section) {
        for line in install.lines_of("CopyFiles") {
            self.for_each_named(line, Self::copied_files);
        }
        for line in install.lines_of("AddReg") {
            self.for_each_named(line, |lint, section| lint.values(section, None));
        }
        let services = format!("{}.Services", install.name);
        let Some(services) = self.inf.section(&services) else {
            return self.found(1296, install.number, format!("no [{services}]"));
        };
        for line in services.lines_of("AddService") {
            match self.inf.section(line.value(2)) {
                Some(service) => self.service(service),
                None => self.found(1203, line.number, format!("no section [{}]", line.value(2))),
            }
        }
    }

    fn for_each_named(&mut self, line: &'a Line, mut each: impl FnMut(&mut Self, &'a Section)) {
        for name in &line.values {
            match self.inf.section(name) {
                Some(section) => each(self, section),
                None => self.found(1203, line.number, format!("no section [{name}]")),
            }
        }
    }

    /// Where files go, and whether the package says where they come from.
    fn copied_files(&mut self, section: &Section) {
        let destinations = self.inf.section("DestinationDirs");
        let destination = destinations.and_then(|dirs| {
            let own = dirs.lines.iter().find(|line| line.is(&section.name));
            own.or_else(|| dirs.lines.iter().find(|line| line.is("DefaultDestDir")))
        });
        match destination {
            Some(line) if line.value(0) == "13" && line.value(1).is_empty() => {}
            Some(line) if line.value(0) == "13" => self.found(
                1100,
                line.number,
                "in the driver store a file stays in the folder that it came in",
            ),
            _ => self.found(
                1322,
                destination.map_or(section.number, |line| line.number),
                format!("[{}] does not stay in the driver store (DIRID 13)", section.name),
            ),
        }
        let sources = self.inf.section("SourceDisksFiles");
        for line in &section.lines {
            let source = if line.value(1).is_empty() {
                line.value(0)
            } else {
                line.value(1)
            };
            if !sources.is_some_and(|sources| sources.lines.iter().any(|line| line.is(source))) {
                self.found(1230, line.number, format!("{source} is not in [SourceDisksFiles]"));
            }
        }
    }

    fn service(&mut self, service: &'a Section) {
        for directive in ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"] {
            if service.value_of(directive).unwrap_or_default().is_empty() {
                self.found(0, service.number, format!("[{}] has no {directive}", service.name));
            }
        }
        if let Some(line) = service.lines_of("ServiceBinary").next()
            && !line.value(0).starts_with("%13%\\")
        {
            self.found(
                1322,
                line.number,
                "the service does not run from the driver store (%13%)",
            );
        }
        for line in service.lines_of("AddReg") {
            self.for_each_named(line, |lint, section| lint.values(section, Some("Parameters")));
        }
    }

    /// Registry values: below HKR only, and there below `subkey` if there is one.
    fn values(&mut self, section: &Section, subkey: Option<&str>) {
        for line in &section.lines {
            let (root, key) = (line.value(0), line.value(1));
            if !root.eq_ignore_ascii_case("HKR") {
                self.found(
                    1304,
                    line.number,
                    format!("{root} is outside of the driver's own keys (HKR)"),
                );
            } else if let Some(subkey) = subkey
                && !key.split('\\').next().unwrap_or_default().eq_ignore_ascii_case(subkey)
            {
                self.found(
                    1323,
                    line.number,
                    format!("HKR\\{key} is outside of the service's {subkey}"),
                );
            }
        }
    }
}

/// The build in `NTamd64.10.0...19041`.
fn build(decoration: &str) -> Option<u32> {
    let mut parts = decoration.split('.').skip(1);
    let (major, minor) = (parts.next()?, parts.next()?);
    let build = parts.nth(2)?.parse().ok()?;
    (major == "10" && minor == "0").then_some(build)
}

fn is_version(text: &str) -> bool {
    let parts = text.split('.').map(str::parse::<u16>).collect::<Vec<_>>();
    parts.len() == 4 && parts.iter().all(Result::is_ok)
}

#[cfg(test)]
mod tests {
    use super::{super::stamp_text, *};

    fn good(arch: &str) -> String {
        stamp_text(include_str!("../../../driver.inx"), arch).unwrap()
    }

    #[test]
    fn the_drivers_own_inf_breaks_no_rule() {
        for arch in ["amd64", "arm64"] {
            assert_eq!(lint(&good(arch)), [], "{arch}");
        }
    }

    /// Each line changes one thing in the good INF, and names the rule that has to be found broken.
    #[test]
    fn each_rule_finds_the_inf_that_breaks_it() {
        let default_install = "[DefaultInstall.NTamd64.10.0...19041]";
        let cases = [
            (1100, "DefaultDestDir = 13", "DefaultDestDir = 13,sub"),
            (1199, "[DefaultInstall.NTamd64.10.0...19041", "[DefaultInstall.NTamd64"),
            (1199, "10.0...19041", "10.0...17763"),
            (1203, "CopyFiles = wskguard.CopyFiles", "CopyFiles = nothing"),
            (1203, "0x800, wskguard.Service", "0x800, nothing"),
            (1203, "= wskguard.Parameters", "= nothing"),
            (1204, "Provider           = \"wskguard\"", "Provider = \"Microsoft\""),
            (0, "StartType      = 1", ";"),
            (
                1212,
                default_install,
                "[Manufacturer]\r\n%Provider% = Models, NTamd64\r\n[DefaultInstall.NTamd64.10.0...19041]",
            ),
            (1217, "0.1.0.0", "0.1.0"),
            (1230, "wskguard.sys = 1", "other.sys = 1"),
            (1233, "CatalogFile = wskguard.cat", ""),
            (1235, "%ServiceName%", "%Nowhere%"),
            (1296, "19041.Services]", "19041.NoServices]"),
            (
                1302,
                "CopyFiles = wskguard.CopyFiles",
                "CopyFiles = wskguard.CopyFiles\r\nDelFiles = wskguard.CopyFiles",
            ),
            (
                1304,
                "HKR, Parameters, MaximumEndpoints",
                "HKLM, Software\\wskguard, MaximumEndpoints",
            ),
            (1322, "DefaultDestDir = 13", "DefaultDestDir = 12"),
            (1322, "%13%\\wskguard.sys", "%12%\\wskguard.sys"),
            (1323, "HKR, Parameters, MaximumEndpoints", "HKR, , MaximumEndpoints"),
            (
                1323,
                "HKR, Parameters, MaximumEndpoints",
                "HKR, Other, MaximumEndpoints",
            ),
            (1324, "PnpLockdown = 1", "PnpLockdown = 0"),
            (1324, "PnpLockdown = 1", ""),
            (1420, "Class       = System", ""),
            (
                1420,
                default_install,
                "[DefaultUninstall.NTamd64]\r\nX = y\r\n[DefaultInstall.NTamd64.10.0...19041]",
            ),
            (1420, "[DefaultInstall.", "[OtherInstall."),
            (1421, default_install, "[DefaultInstall]"),
            (1421, "NTamd64", "NTx86"),
        ];
        for (rule, from, to) in cases {
            let good = good("amd64");
            assert!(good.contains(from), "{from:?} is gone from driver.inx");
            let findings = lint(&good.replace(from, to));
            assert!(
                findings.iter().any(|finding| finding.rule == rule),
                "{rule}: {to:?} gives {findings:?}"
            );
        }
    }
}
