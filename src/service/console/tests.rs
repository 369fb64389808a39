//! The page's three files: their size, their manners, what goes with them.

use super::*;

#[test]
fn the_whole_page_is_under_60_kib() {
    let all = INDEX.len() + STYLE.len() + SCRIPT.len();
    assert!(all < 60 * 1024, "{all} bytes");
}

#[test]
fn nothing_is_fetched_from_another_host_and_no_text_becomes_markup() {
    for text in [INDEX, STYLE, SCRIPT] {
        let elsewhere = text.match_indices("://").filter(|(at, _)| {
            !text[..*at].ends_with("http") || !text[*at..].starts_with("://www.w3.org/")
        });
        assert_eq!(elsewhere.count(), 0);
        for markup in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "@import",
            "style=",
            "onclick=\"",
        ] {
            assert!(!text.contains(markup), "{markup}");
        }
    }
}

#[test]
fn a_browser_that_has_the_file_is_told_so() {
    let mut headers = HeaderMap::new();
    let first = JS.fresh(&headers);
    assert_eq!(first.status(), StatusCode::OK);
    headers.insert("if-none-match", first.headers()[ETAG].clone());
    let second = JS.fresh(&headers);
    assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(second.headers()[CONTENT_SECURITY_POLICY], POLICY);
    assert_eq!(CSS.fresh(&headers).status(), StatusCode::OK);
}
