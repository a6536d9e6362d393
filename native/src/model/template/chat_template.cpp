#include "model/template/chat_template.h"

#include "json.h"

#include <algorithm>

#include "model/template/engine.h" // after every other header: it hooks append()

#include "jinja/caps.h"
#include "jinja/parser.h"

namespace yapo {
namespace {

// What raise_exception throws in our context: not a std::exception, so that the engine does not reword it.
struct template_refusal {
    std::string message;
};

jinja::value raise_exception(const jinja::func_args & args) {
    std::string message = "raise_exception()";
    if (args.count() > 0 && jinja::is_val<jinja::value_string>(args.get_pos(0))) {
        message = args.get_pos(0)->as_string().str();
    }
    throw template_refusal{message};
}

// Some templates read only a list of parts, most only a string; llama.cpp finds out by trying.
bool wants_parts(jinja::program & program) {
    const jinja::caps caps = jinja::caps_get(program);
    return caps.supports_typed_content && !caps.supports_string_content;
}

common_json messages_json(const std::vector<chat_turn> & turns, bool parts) {
    common_json messages = common_json::array();
    for (const chat_turn & turn : turns) {
        common_json message;
        message["role"] = turn.role;
        if (parts) {
            common_json part;
            part["type"] = "text";
            part["text"] = turn.content;
            common_json content = common_json::array();
            content.push_back(part);
            message["content"] = content;
        } else {
            message["content"] = turn.content;
        }
        messages.push_back(message);
    }
    return messages;
}

// The last line of the engine's report: "... Error: <what went wrong>".
std::string innermost_error(const std::string & report) {
    const std::string marker = "Error: ";
    const size_t at = report.rfind(marker);
    std::string text = at == std::string::npos ? report : report.substr(at + marker.size());
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

std::string render(const chat_request & request) {
    jinja::lexer lexer;
    const jinja::lexer_result tokens = lexer.tokenize(*request.source);
    check_template_tokens(tokens.tokens);
    jinja::program program = jinja::parse_from_tokens(tokens);

    common_json globals;
    globals["messages"]  = messages_json(*request.turns, wants_parts(program));
    globals["bos_token"] = request.bos_token;
    globals["eos_token"] = request.eos_token;
    if (request.add_generation_prompt) { // absent otherwise: templates test "is defined"
        globals["add_generation_prompt"] = true;
    }
    jinja::context context(tokens.source);
    jinja::global_from_json(context, globals, /* mark_input */ false);
    context.set_val("raise_exception", jinja::mk_val<jinja::value_func>("raise_exception", raise_exception));

    jinja::runtime runtime(context);
    const jinja::value results = runtime.execute(program);
    return jinja::runtime::gather_string_parts(results)->as_string().str();
}

} // namespace

chat_rendering render_chat(const chat_request & request) {
    if (request.source->size() > template_max_bytes) {
        return {chat_outcome::limited, "it is larger than " + std::to_string(template_max_bytes) + " bytes"};
    }
    try {
        template_limits limits;
        std::string     text = render(request);
        if (text.size() > template_max_output) {
            return {chat_outcome::limited, "its output is larger than " + std::to_string(template_max_output) + " bytes"};
        }
        return {chat_outcome::rendered, std::move(text)};
    } catch (const template_refusal & e) {
        return {chat_outcome::refused, e.message};
    } catch (const template_limit & e) {
        return {chat_outcome::limited, e.message};
    } catch (const std::bad_alloc &) {
        return {chat_outcome::limited, "it needs more memory than there is"};
    } catch (const std::exception & e) {
        return {chat_outcome::malformed, innermost_error(e.what())};
    }
}

} // namespace yapo
