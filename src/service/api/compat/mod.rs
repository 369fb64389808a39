//! `/api/v0`: the keys part of Vast.ai's REST API, as its own clients speak it.
//!
//! The same acts as `/v1`, by the same functions; this folder owns the paths, the names of fields
//! and the words in which Vast's clients read an answer (a file a resource). Each path stands with
//! and without a slash at its end, and neither redirects. Refuses to decide: what is allowed and
//! what is a key is said once, beside `/v1`.

mod api_keys;
mod attachments;
mod audit;
mod instances;
mod listing;
mod sessions;
mod ssh_keys;
mod tfa;
mod users;

use super::names;
use super::routes::{Access, Routes, right};
use crate::service::permissions::Category;
use axum::http::Method;
use jiff::Timestamp;
use serde::Serialize;

/// Adds calls, each under its path and under the same with a slash at the end.
macro_rules! calls {
    ($routes:expr, $($method:ident $path:literal $access:expr => $handler:expr;)*) => {
        $routes$(
            .add(Method::$method, $path, $access, $handler)
            .add(Method::$method, concat!($path, "/"), $access, $handler)
        )*
    };
}

/// Adds this face's calls. What a tree calls them is what it calls those of `/v1`: a key that is held
/// to less there is held to less here.
pub(super) fn routes(routes: Routes) -> Routes {
    let keys_read = right(Category::UserRead, names::SSH_KEYS);
    let keys_write = right(Category::UserWrite, names::SSH_KEYS);
    let api_keys_read = right(Category::UserRead, names::API_KEYS);
    let api_keys_write = right(Category::UserWrite, names::API_KEYS);
    let sessions_read = right(Category::UserRead, names::SESSIONS);
    let sessions_write = right(Category::UserWrite, names::SESSIONS);
    let account_read = right(Category::UserRead, names::ACCOUNT);
    let account_write = right(Category::UserWrite, names::ACCOUNT);
    let instances_read = right(Category::InstanceRead, names::INSTANCES);
    let instances_write = right(Category::InstanceWrite, names::INSTANCES);
    let audit_read = right(Category::Misc, names::AUDIT);
    calls! { routes,
        GET "/api/v0/ssh" keys_read => ssh_keys::list;
        POST "/api/v0/ssh" keys_write => ssh_keys::create;
        PUT "/api/v0/ssh/{id}" keys_write => ssh_keys::update;
        DELETE "/api/v0/ssh/{id}" keys_write => ssh_keys::delete;
        GET "/api/v1/instances" instances_read => instances::page;
        GET "/api/v0/instances" instances_read => instances::all;
        GET "/api/v0/instances/filters" instances_read => instances::filters;
        GET "/api/v0/instances/{id}" instances_read => instances::one;
        PUT "/api/v0/instances/{id}" instances_write => instances::label;
        GET "/api/v0/instances/{id}/ssh" instances_read => attachments::list;
        POST "/api/v0/instances/{id}/ssh" instances_write => attachments::attach;
        PUT "/api/v0/instances/{id}/ssh" instances_write => attachments::attach;
        DELETE "/api/v0/instances/{id}/ssh/{key}" instances_write => attachments::detach;
        GET "/api/v0/auth/apikeys" api_keys_read => api_keys::list;
        POST "/api/v0/auth/apikeys" api_keys_write => api_keys::create;
        GET "/api/v0/auth/apikeys/{id}" api_keys_read => api_keys::show;
        DELETE "/api/v0/auth/apikeys/{id}" api_keys_write => api_keys::delete;
        PUT "/api/v0/commands/reset_apikey" api_keys_write => api_keys::reset;
        GET "/api/v0/auth/sessions" sessions_read => sessions::list;
        DELETE "/api/v0/auth/sessions" sessions_write => sessions::delete;
        GET "/api/v0/users/current" Access::AnyKey => users::current;
        PUT "/api/v0/users" keys_write => users::set;
        GET "/api/v0/users/me/ipaddrs" sessions_read => users::addresses;
        GET "/api/v0/subaccounts" account_read => users::subaccounts;
        GET "/api/v0/audit_logs" audit_read => audit::list;
        GET "/api/v0/tfa/status" account_read => tfa::status;
        POST "/api/v0/tfa" account_write => tfa::log_in;
        GET "/api/v0/gpu_names/unique" Access::Anyone => instances::gpu_names;
    }
}

/// `{"success": true}`, with words or without.
#[derive(Debug, Serialize)]
struct Done {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'static str>,
}

/// It is done, and there is nothing to say about it.
const DONE: axum::Json<Done> = axum::Json(Done {
    success: true,
    msg: None,
});

/// It is done, in the words that clients know.
fn done(msg: &'static str) -> axum::Json<Done> {
    axum::Json(Done {
        success: true,
        msg: Some(msg),
    })
}

/// Seconds since 1970, as a JSON number with a fraction: clients decode a float.
fn epoch(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
