import { ApiError, loadModel, loadVectors, useKey, type Model, type Settings } from "./api";
import { Chat } from "./chat";
import { byId, make } from "./dom";
import { VectorPanel } from "./vectors";

const examples = ["What do people eat for breakfast?", "How do people greet each other?", "What do people drink in the morning?"];

async function start(): Promise<void> {
  const model = await loadModel();
  const { vectors, standard } = await loadVectors();
  const panel = new VectorPanel(byId("vectors"), vectors, standard);
  panel.startWithFirst();
  byId("no-vectors").hidden = vectors.length > 0;
  byId("all-zero").hidden = vectors.length === 0;
  byId("all-zero").addEventListener("click", () => panel.allToZero());
  byId("model").textContent = model.id;
  byId<HTMLInputElement>("max-tokens").max = String(model.context_length);
  converse(model, panel);
}

function converse(model: Model, panel: VectorPanel): void {
  const chat = new Chat(model, byId("turns"));
  const form = byId<HTMLFormElement>("ask");
  const question = byId<HTMLTextAreaElement>("question");
  const welcome = byId("welcome");

  const grow = (): void => {
    question.style.height = "auto";
    question.style.height = `${Math.min(question.scrollHeight, 200)}px`;
  };
  const busy = (running: boolean): void => {
    byId("send").hidden = running;
    byId("stop").hidden = !running;
  };
  const ask = async (text: string): Promise<void> => {
    if (!text || chat.isRunning) {
      return;
    }
    welcome.hidden = true;
    question.value = "";
    grow();
    closePanel();
    busy(true);
    try {
      await chat.ask(text, panel.steering(byId<HTMLSelectElement>("positions").value), settings(), byId<HTMLInputElement>("compare").checked);
    } finally {
      busy(false);
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask(question.value.trim());
  });
  question.addEventListener("input", grow);
  question.addEventListener("keydown", (event) => {
    // isComposing: Enter that ends the input of a character, not the message.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      chat.stop();
    }
  });
  byId("stop").addEventListener("click", () => {
    chat.stop();
    question.focus();
  });
  byId("new-chat").addEventListener("click", () => {
    chat.reset();
    welcome.hidden = false;
    question.focus();
  });
  byId("examples").replaceChildren(
    ...examples.map((text) => {
      const button = make("button", "example", text);
      button.type = "button";
      button.addEventListener("click", () => void ask(text));
      return make("li", "", button);
    }),
  );
  question.focus({ preventScroll: true });
}

function settings(): Settings {
  const number = (id: string, otherwise: number): number => {
    const input = byId<HTMLInputElement>(id);
    return input.checkValidity() && Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : otherwise;
  };
  return { temperature: number("temperature", 0), max_tokens: number("max-tokens", 200), seed: number("seed", 1) };
}

function closePanel(): void {
  document.body.classList.remove("panel-open");
  byId("toggle-panel").setAttribute("aria-expanded", "false");
}

byId("toggle-panel").addEventListener("click", () => {
  const open = document.body.classList.toggle("panel-open");
  byId("toggle-panel").setAttribute("aria-expanded", String(open));
});

async function connect(): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      byId("model").textContent = "an API key is needed";
      byId<HTMLDialogElement>("key-dialog").showModal();
      return;
    }
    byId("model").textContent = error instanceof ApiError ? error.message : "the server cannot be reached";
    byId("model").classList.add("error");
  }
}

byId<HTMLDialogElement>("key-dialog").addEventListener("close", () => {
  const key = byId<HTMLInputElement>("key");
  useKey(key.value.trim());
  key.value = "";
  void connect();
});

void connect();
