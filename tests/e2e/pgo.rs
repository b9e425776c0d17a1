//! Case 19: a fetched profile is accepted by `go build -pgo`, and the compiler finds the hot call in it.

use std::path::Path;
use tests::harness::{Agent, Target, programs, tools};

/// What the compiler says of calls that are hot enough for a greater budget, when it is given a profile.
fn hot_calls(profile: &Path, folder: &Path) -> String {
    let mut build = tools::go_command();
    build.args(["build", "-a", "-gcflags=-d=pgodebug=1", "-pgo"]).arg(profile);
    build.arg("-o").arg(folder.join("optimized")).arg(programs::source("cases/pgo.go"));
    let output = build.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "go build -pgo refused the profile:\n{text}");
    text
}

#[test]
fn go_build_applies_our_profile_as_it_does_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let program = programs::go("cases/pgo.go", &[]);
    let own = folder.path().join("own.pprof");
    let mut itself = Target::start(&program, &[own.to_str().unwrap()]);
    assert!(itself.wait(std::time::Duration::from_secs(30)).success());
    let is_hot = |said: &str| {
        let allowed = "hot-budget check allows inlining for call main.costly";
        said.lines().any(|line| line.contains(allowed) && line.ends_with("in function main.run"))
    };
    let truth = hot_calls(&own, folder.path());
    assert!(is_hot(&truth), "the program's own profile does not make the call hot either:\n{truth}");

    let target = Target::start(&program, &[]);
    let agent = Agent::start(&[]);
    let answer = agent.get(&format!("/pid/{}/debug/pprof/profile?seconds=6", target.pid())).ok();
    let ours = folder.path().join("ours.pprof");
    std::fs::write(&ours, &answer.body).unwrap();
    let found = hot_calls(&ours, folder.path());
    assert!(is_hot(&found), "the call is not hot by our profile:\n{found}");
}
