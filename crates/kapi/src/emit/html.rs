//! One HTML page for a whole corpus, with search and without any file beside it.

use std::fmt::Write as _;

use super::outline::{Node, outline};
use crate::clause::clauses;
use crate::ir::Spec;

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;display:grid;grid-template-columns:17rem 1fr}\
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1rem;background:#8881;box-sizing:border-box}\
nav a{display:block}main{padding:1rem 2rem;max-width:60rem}input{width:100%;font:inherit;box-sizing:border-box}\
dt{font-weight:600;font-family:monospace}dd{margin:0 0 .8rem 1.5rem}dd p{margin:.2rem 0}pre{background:#8881;padding:.6rem;overflow:auto}\
.fact b{font-weight:500;opacity:.7}.id{opacity:.5;font-size:.75rem}[hidden]{display:none}\
main{min-width:0;overflow-wrap:anywhere}h1{font-size:1.6rem}\
@media(max-width:48rem){body{display:block}nav{position:static;height:auto;max-height:40vh}main{padding:1rem}dd{margin-left:.8rem}}";

const SCRIPT: &str = "const q=document.getElementById('q'),n=document.getElementById('n');\
const items=[...document.querySelectorAll('article')].map(a=>[a,a.textContent.toLowerCase(),document.querySelector('nav a[href=\"#'+a.id+'\"]')]);\
function find(){const words=q.value.toLowerCase().split(/\\s+/).filter(Boolean);let shown=0;\
for(const[a,text,link]of items){const hit=words.every(w=>text.includes(w));a.hidden=!hit;link.hidden=!hit;shown+=hit}\
n.textContent=shown+' of '+items.length}q.addEventListener('input',find);find();";

/// The page.
pub(super) fn page(specs: &[Spec]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Kernel API specifications</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<nav>\n<label for=\"q\">Search</label> <input id=\"q\" type=\"search\" autofocus> <small id=\"n\"></small>\n"
    );
    for spec in specs {
        let _ = writeln!(out, "<a href=\"#{0}\">{0}</a>", escape(&spec.name));
    }
    out.push_str("</nav>\n<main>\n");
    for spec in specs {
        article(spec, &mut out);
    }
    let _ = write!(
        out,
        "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    out
}

fn article(spec: &Spec, out: &mut String) {
    let _ = writeln!(
        out,
        "<article id=\"{0}\">\n<h1>{0}</h1>\n<p>{1}</p>",
        escape(&spec.name),
        escape(&spec.description)
    );
    for section in outline(spec) {
        let _ = writeln!(out, "<h2>{}</h2>", section.title);
        let mut list = false;
        for node in &section.nodes {
            let is_def = matches!(node, Node::Def { .. });
            if is_def != list {
                out.push_str(if is_def { "<dl>\n" } else { "</dl>\n" });
                list = is_def;
            }
            match node {
                Node::Para(text) => {
                    let _ = writeln!(out, "<p>{}</p>", escape(text).replace('\n', "<br>"));
                }
                Node::Code(text) => {
                    let _ = writeln!(out, "<pre>{}</pre>", escape(text));
                }
                Node::Def { term, facts, paras } => {
                    let _ = write!(out, "<dt>{}</dt>\n<dd>", escape(term));
                    for para in paras {
                        let _ = write!(out, "<p>{}</p>", escape(para).replace('\n', "<br>"));
                    }
                    for (label, text) in facts {
                        let _ = write!(
                            out,
                            "<p class=\"fact\"><b>{label}:</b> {}</p>",
                            escape(text)
                        );
                    }
                    out.push_str("</dd>\n");
                }
            }
        }
        if list {
            out.push_str("</dl>\n");
        }
    }
    let ids: Vec<String> = clauses(spec).iter().map(|c| escape(&c.id)).collect();
    let _ = writeln!(out, "<p class=\"id\">{}</p>\n</article>", ids.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let spec = Spec {
            name: "x".into(),
            description: "<script>\"&".into(),
            ..Spec::default()
        };
        let text = page(&[spec]);
        assert!(text.contains("<p>&lt;script&gt;&quot;&amp;</p>"));
        assert_eq!(text.matches("<script>").count(), 1);
    }
}
