//! The tables of error codes, in docs/api.md and in openapi.yaml, are the table of the code.

use std::collections::BTreeMap;

use quotastack_core::problem::Code;

const PAGE: &str = include_str!("../../../docs/api.md");
const CONTRACT: &str = include_str!("../../../openapi.yaml");

#[test]
fn every_error_code_is_documented_with_its_status_and_no_other() {
    let expected: BTreeMap<&str, u16> = Code::ALL.iter().map(|code| (code.as_str(), code.status())).collect();
    assert_eq!(expected.len(), Code::ALL.len(), "two codes have one name");
    assert_eq!(of_page(), expected, "docs/api.md");
    assert_eq!(of_contract(), expected, "openapi.yaml");
}

/// Rows of the table under "Errors": | `code` | status | meaning |.
fn of_page() -> BTreeMap<&'static str, u16> {
    let (_, section) = PAGE.split_once("\n## Errors\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (code, rest) = row.split_once("` | ").unwrap();
        let (status, _) = rest.split_once(" |").unwrap();
        (code, status.parse().unwrap())
    })
    .collect()
}

/// Lines of the table at the top of the contract: code: {status: number, ..}.
fn of_contract() -> BTreeMap<&'static str, u16> {
    let (_, table) = CONTRACT.split_once("\nx-error-codes:\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("  "));
    rows.map(|row| {
        let (code, rest) = row.split_once(": {status: ").unwrap();
        let (status, _) = rest.split_once(',').unwrap();
        (code, status.parse().unwrap())
    })
    .collect()
}
