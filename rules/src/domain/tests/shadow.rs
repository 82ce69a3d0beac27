//! A rule in shadow answers, and nothing of it happens.

use shared_events::action::FailureReason;

use super::world::{RULES, World};

const SHADOWS: &str = r#"
- name: try-high
  state: shadow
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  when: double(annotations.value) > 0.8
  action: {scale_docker: {replicas: 3, direction: up}, timeout: 60s, cooldown: 5m}
- name: try-down
  state: shadow
  matchers: ['alertname="Down"']
  group_by: [service]
  incident: open
"#;

fn with_shadows() -> World {
    // the last line of the rules is one rule
    World::with_rules(&format!("{}{}", RULES.trim_end(), SHADOWS))
}

#[test]
fn it_answers_and_nothing_happens() {
    let mut world = with_shadows();
    assert_eq!(world.raise("Down", "app"), ["fired"]);
    assert!(world.events.is_empty());
    assert!(world.timers.is_empty());
    let memory = &world.correlations["service=app"].memory;
    assert!(memory.incident.is_none() && memory.evidence.is_empty());
    assert_eq!(world.resolve("Down", "app"), ["cleared"]);
    assert!(world.correlations["service=app"].memory.over.is_empty());
}

/// Its cooldown counts: it would not have acted at each notification.
#[test]
fn it_keeps_its_own_cooldown() {
    let only = SHADOWS.trim_start();
    let mut world = World::with_rules(&format!("version: 1\nrules:\n{only}"));
    assert_eq!(world.raise("HighCPU", "app"), ["fired"]);
    world.wait(60);
    assert_eq!(world.raise_again("HighCPU", "app", 2), ["cooldown"]);
    world.wait(300);
    assert_eq!(world.raise_again("HighCPU", "app", 3), ["fired"]);
    let asked: Vec<&str> = world.targets["app"]
        .asked_at
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(asked, ["shadow/try-high"]);
    assert!(world.events.is_empty());
}

/// Live rules do the same with and without it, also where an action is undone and retried.
#[test]
fn live_rules_do_not_see_it() {
    let story = |mut world: World| {
        world.raise("HighCPU", "app");
        world.raise("Down", "app");
        world.failed(FailureReason::Unhealthy);
        world.completed(1);
        world.wait(400);
        world.raise_again("HighCPU", "app", 2);
        world.fire_next();
        world.resolve("HighCPU", "app");
        world.resolve("Down", "app");
        let memories: Vec<_> = world
            .correlations
            .into_iter()
            .map(|(key, correlation)| (key, correlation.memory))
            .filter(|(_, memory)| memory.incident.is_some())
            .collect();
        (world.events, memories, world.timers)
    };
    let (plain, shadowed) = (story(World::new()), story(with_shadows()));
    assert!(plain.0.len() > 4, "{:?}", plain.0);
    assert_eq!(plain, shadowed);
}
