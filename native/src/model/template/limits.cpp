#include "model/template/limits.h"

#include "jinja/lexer.h"
#include "jinja/string.h"

#include <cstdlib>
#include <new>

namespace yapo {
namespace {

thread_local template_limits * current = nullptr;

using token = jinja::token;

bool opens_bracket(token::type t) {
    return t == token::open_paren || t == token::open_square_bracket || t == token::open_curly_bracket;
}

bool closes_bracket(token::type t) {
    return t == token::close_paren || t == token::close_square_bracket || t == token::close_curly_bracket;
}

bool opens_block(const std::string & word) {
    return word == "if" || word == "for" || word == "macro" || word == "call" || word == "filter" || word == "set" || word == "generation";
}

} // namespace

template_limits::template_limits() : outer(current), deadline(std::chrono::steady_clock::now() + template_max_time) {
    char here;
    stack_base = &here;
    current    = this;
}

template_limits::~template_limits() {
    current = outer;
}

void template_limits::check() const {
    char here;
    const size_t used = static_cast<size_t>(std::abs(stack_base - &here));
    if (used > template_max_stack) {
        throw template_limit{"it nests or calls itself too deeply (a recursive macro?)"};
    }
    if (std::chrono::steady_clock::now() > deadline) {
        throw template_limit{"it ran for more than " + std::to_string(template_max_time.count()) + " seconds"};
    }
}

void template_limits::add_text(size_t bytes) {
    text_bytes += bytes;
    if (text_bytes > template_max_text) {
        throw template_limit{"it puts together more than " + std::to_string(template_max_text) + " bytes of text"};
    }
}

const jinja::string & template_text(const jinja::string & text) {
    if (current) {
        for (const auto & part : text.parts) {
            current->add_text(part.val.size());
        }
    }
    return text;
}

const std::string & template_text(const std::string & text) {
    if (current) {
        current->add_text(text.size());
    }
    return text;
}

void template_step() {
    if (current) {
        current->check();
    }
}

void check_template_tokens(const std::vector<jinja::token> & tokens) {
    int brackets = 0, expression = 0, blocks = 0;
    std::vector<int> branches; // elif count of each open block
    for (size_t i = 0; i < tokens.size(); ++i) {
        const token & t = tokens[i];
        if (t.t == token::open_statement || t.t == token::open_expression || t.t == token::text) {
            brackets = expression = 0;
        }
        if (++expression > template_max_expression) {
            throw template_limit{"an expression has more than " + std::to_string(template_max_expression) + " tokens"};
        }
        brackets += opens_bracket(t.t) ? 1 : closes_bracket(t.t) ? -1 : 0;
        if (brackets > template_max_depth) {
            throw template_limit{"brackets are nested more than " + std::to_string(template_max_depth) + " deep"};
        }
        if (t.t == token::open_statement && i + 1 < tokens.size() && tokens[i + 1].t == token::identifier) {
            const std::string & word = tokens[i + 1].value;
            if (word.compare(0, 3, "end") == 0) {
                blocks = branches.empty() ? 0 : blocks - 1;
                if (!branches.empty()) {
                    branches.pop_back();
                }
            } else if (word == "elif" && !branches.empty() && ++branches.back() > template_max_branches) {
                throw template_limit{"an if has more than " + std::to_string(template_max_branches) + " branches"};
            } else if (opens_block(word)) {
                // "set" opens a block only without "=", which only the parser knows; counting it could refuse a long list of them.
                bool assigns = false;
                for (size_t j = i + 2; word == "set" && j < tokens.size() && tokens[j].t != token::close_statement; ++j) {
                    assigns = assigns || tokens[j].t == token::equals;
                }
                if (!assigns) {
                    ++blocks;
                    branches.push_back(0);
                }
            }
            if (blocks > template_max_depth) {
                throw template_limit{"blocks are nested more than " + std::to_string(template_max_depth) + " deep"};
            }
        }
    }
}

} // namespace yapo
