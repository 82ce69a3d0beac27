//! What is told of a replica before it is removed, cut to size.

use shared_events::action::Evidence;

/// All evidence of one failure, in bytes of text.
pub const LIMIT: usize = 8 * 1024;
/// Last lines of a replica's log.
pub const LOG_LINES: usize = 50;
/// Last outputs of a replica's health check.
pub const HEALTH_OUTPUTS: usize = 3;
/// One line of a log, or one output of a health check, in bytes.
const LINE: usize = 500;

/// Cuts evidence to [`LIMIT`]: long lines are shortened, then the oldest log lines go, from the
/// replica that has the most. Control characters are dropped: they would end in terminals and in
/// databases that refuse them.
#[must_use]
pub fn fit(evidence: Vec<Evidence>) -> Vec<Evidence> {
    let mut evidence: Vec<Evidence> = evidence.into_iter().map(tidy).collect();
    while size(&evidence) > LIMIT {
        let Some(longest) = evidence.iter_mut().max_by_key(|one| weight(one)) else {
            break;
        };
        if !longest.logs.is_empty() {
            longest.logs.remove(0);
        } else if !longest.health.is_empty() {
            longest.health.remove(0);
        } else {
            evidence.pop();
        }
    }
    evidence
}

/// One line of text without control characters, at most [`LINE`] bytes.
#[must_use]
pub fn line(text: &str) -> String {
    let words: String = text
        .trim()
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    shorten(words, LINE)
}

fn tidy(one: Evidence) -> Evidence {
    Evidence {
        logs: last(one.logs, LOG_LINES),
        health: last(one.health, HEALTH_OUTPUTS),
        ..one
    }
}

fn last(lines: Vec<String>, keep: usize) -> Vec<String> {
    let skip = lines.len().saturating_sub(keep);
    lines.iter().skip(skip).map(|text| line(text)).collect()
}

fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

fn weight(one: &Evidence) -> usize {
    let lines = one.logs.iter().chain(&one.health);
    one.container.len() + lines.map(|line| line.len() + 1).sum::<usize>()
}

fn size(evidence: &[Evidence]) -> usize {
    evidence.iter().map(weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, logs: Vec<String>) -> Evidence {
        Evidence {
            container: name.to_owned(),
            exit_code: Some(3),
            oom_killed: false,
            logs,
            health: vec!["503 not ready".to_owned()],
        }
    }

    #[test]
    fn the_last_lines_of_each_replica_survive_the_cut() {
        let logs: Vec<String> = (0..60)
            .map(|n| format!("{n:03} {}", "x".repeat(400)))
            .collect();
        let cut = fit(vec![of("app-2", logs.clone()), of("app-3", logs)]);
        assert!(size(&cut) <= LIMIT, "{} bytes", size(&cut));
        for one in &cut {
            assert!(one.logs.len() >= 8, "{} lines", one.logs.len());
            assert!(one.logs.last().is_some_and(|last| last.starts_with("059 ")));
            assert_eq!(one.health, ["503 not ready"]);
        }
    }

    #[test]
    fn control_characters_go_and_long_lines_are_shortened() {
        assert_eq!(line(" a\u{0}b\u{1b}[31mred\r\n"), "ab[31mred");
        assert_eq!(line("one\ntwo"), "one two");
        let long = line(&"ü".repeat(1000));
        assert!(long.len() <= LINE && long.ends_with('…'), "{long}");
    }

    #[test]
    fn more_replicas_than_fit_leave_the_first_ones() {
        let many = (0..2000)
            .map(|n| of(&format!("app-{n}"), Vec::new()))
            .collect();
        let cut = fit(many);
        assert!(size(&cut) <= LIMIT);
        assert_eq!(cut[0].container, "app-0");
    }
}
