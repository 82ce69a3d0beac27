use super::*;

fn template(command: &str) -> Template {
    let container = serde_json::json!({
        "Id": "0", "Name": "/shop-app-1", "Image": "sha256:0123",
        "Config": {"Cmd": [command], "Labels": {"service": "app"}},
        "HostConfig": {},
    });
    let container = serde_json::from_value(container).expect("is what an engine answers");
    Template::of(&container).expect("can be copied")
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_the_newest_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let kept = Kept::open(path.clone()).expect("it is made");
    let all: Vec<Template> = ["a", "b", "c", "d", "e"].map(template).into();
    for one in &all {
        kept.keep("app", one);
        kept.keep("app", one);
    }
    kept.keep("..", &all[0]);
    assert_eq!(files(&path), NEWEST + 1);
    let again = Kept::open(path.clone()).expect("it is there");
    assert_eq!(
        again.find("app", &all[0].hash()),
        None,
        "the oldest is gone"
    );
    for one in &all[1..] {
        assert_eq!(again.find("app", &one.hash()).as_ref(), Some(one));
    }
    assert_eq!(again.all("..").len(), 1);
    assert_eq!(again.find("web", &all[1].hash()), None, "another target's");
    again.keep("app", &all[1]);
    again.keep("app", &template("f"));
    assert!(
        again.find("app", &all[1].hash()).is_some(),
        "used again, newest again"
    );
    assert_eq!(again.find("app", &all[2].hash()), None);
}

#[test]
fn a_file_that_was_changed_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = Kept::open(folder.path().to_owned()).expect("it is there");
    let (good, bad) = (template("good"), template("bad"));
    kept.keep("app", &good);
    kept.keep("app", &bad);
    let path = folder.path().join(format!("app@{}.json", bad.hash()));
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("sha256:0123", "sha256:evil")).expect("written");
    fs::write(folder.path().join("half.json"), "{").expect("written");
    let again = Kept::open(folder.path().to_owned()).expect("it is there");
    assert_eq!(again.all("app"), [good]);
}

#[test]
fn what_may_not_be_copied_any_more_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut value = serde_json::to_value(template("x")).expect("JSON");
    value["body"]["HostConfig"]["Binds"] = serde_json::json!(["/var/run/docker.sock:/s"]);
    let template: Template = serde_json::from_value(value).expect("a template of old");
    let entry = Entry {
        number: 1,
        target: "app".to_owned(),
        hash: template.hash(),
        template,
    };
    write(folder.path(), &entry).expect("written");
    let again = Kept::open(folder.path().to_owned()).expect("it is there");
    assert_eq!(again.all("app"), []);
}
