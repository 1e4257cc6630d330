//! All rules on all files.

use anyhow::bail;

use super::{contract, files, rules, tree};

/// Fails with every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let findings = findings()?;
    if findings.is_empty() {
        println!("tidy: nothing to mend");
        return Ok(());
    }
    bail!("tidy: {} to mend\n  {}", findings.len(), findings.join("\n  "));
}

fn findings() -> anyhow::Result<Vec<String>> {
    let tree = tree::read()?;
    let mut findings = files::check(&tree);
    findings.extend(rules::check(&tree)?);
    findings.extend(contract::check(&tree)?);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        assert_eq!(super::findings().unwrap(), Vec::<String>::new());
    }
}
