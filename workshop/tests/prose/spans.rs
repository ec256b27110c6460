//! What a page has in backticks, and what each of it is.

use pulldown_cmark::CodeBlockKind::Fenced;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Something in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) code: String,
    /// The text of the paragraph, list item or row of a table that it stands in.
    pub(crate) around: String,
}

/// What is in backticks in the text of a page. A heading is a paragraph, and so is a cell of a table.
pub(crate) fn spans(text: &str) -> Vec<Span> {
    let (mut spans, mut codes, mut around) = (Vec::new(), Vec::new(), String::new());
    let mut in_block = false;
    for event in parse(text) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_block = true,
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) if !in_block => {
                around += &text;
            }
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell) => around.push(' '),
            Event::Start(Tag::Link { dest_url, .. }) => around += &format!(" {dest_url} "),
            Event::Code(code) => {
                around += &code;
                codes.push(code.into_string());
            }
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::TableRow | TagEnd::Item,
            ) => {
                let around = std::mem::take(&mut around);
                spans.extend(codes.drain(..).map(|code| Span { code, around: around.clone() }));
            }
            _ => {}
        }
    }
    spans.extend(codes.into_iter().map(|code| Span { code, around: around.clone() }));
    spans
}

/// A block of code.
pub(crate) struct Block {
    /// Whether it says of itself that it is typed into a shell.
    pub(crate) is_typed: bool,
    pub(crate) text: String,
}

/// The blocks of code of a page.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut block): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for event in parse(text) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let is_typed =
                    matches!(&kind, Fenced(language) if ["console", "sh"].contains(&&**language));
                block = Some(Block { is_typed, text: String::new() });
            }
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.text += &text;
                }
            }
            Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
            _ => {}
        }
    }
    blocks
}

fn parse(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

#[test]
fn a_span_knows_the_paragraph_that_it_stands_in() {
    let text = "# A `b`\n\nC `d`\n`e|f`, [g](h.md).\n\n| `i\\|j` | k |\n| --- | --- |\n| `l` | m |\n\n```text\n`n`\n```\n";
    let found: Vec<_> = spans(text).into_iter().map(|span| (span.code, span.around)).collect();
    let expected = [
        ("b", "A b"),
        ("d", "C d e|f,  h.md g."),
        ("e|f", "C d e|f,  h.md g."),
        ("i|j", "i|j k "),
        ("l", "i|j k l m "),
    ];
    let expected = expected.map(|(code, around)| (code.to_owned(), around.to_owned()));
    assert_eq!(found[..3], expected[..3]);
    assert_eq!(found[3].0, expected[3].0);
    assert_eq!(blocks(text)[0].text, "`n`\n");
}
