//! What the agent says of itself for a bug report: its version, configuration, programs and last log lines.

use crate::config::Config;
use crate::http::About;
use crate::kernel::Attached;
use crate::telemetry::recent;
use serde_json::json;
use std::sync::Arc;

/// Says it anew at each question.
pub(super) fn about(config: &Config, attached: &Arc<Attached>) -> About {
    let (config, attached) = (config.clone(), Arc::clone(attached));
    Arc::new(move || {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "config": config,
            "verified": attached.facts(),
            "programs": attached.costs(),
            "log": recent::lines(),
        })
    })
}
