import { ApiError, type AnswerEvent } from "./api";
import { make } from "./dom";

/** An answer on the page while it arrives: text, live speed, how it ended. */
export class AnswerCard {
  readonly element: HTMLElement;
  text = "";
  private readonly body = make("p", "text");
  private readonly status = make("span", "status", "waiting …");

  constructor(title: string, steered: boolean) {
    this.body.setAttribute("aria-live", "polite");
    this.element = make("section", steered ? "answer steered" : "answer", make("h3", "", title, this.status), this.body);
    this.element.setAttribute("aria-busy", "true");
  }

  /** Shows an answer as it comes. True when it came to its own end. */
  async show(events: AsyncIterable<AnswerEvent>): Promise<boolean> {
    let started = 0;
    let pieces = 0;
    try {
      for await (const event of events) {
        if ("text" in event) {
          const now = performance.now();
          started ||= now;
          pieces++;
          this.text += event.text;
          this.body.append(event.text);
          if (pieces > 2) {
            this.status.textContent = speed(((pieces - 1) * 1000) / (now - started));
          }
          this.element.scrollIntoView({ block: "nearest" });
        } else {
          this.status.textContent = [event.tokensPerSecond ? speed(event.tokensPerSecond) : "", event.finish === "length" ? "cut at its longest" : ""].filter(Boolean).join(", ");
        }
      }
      return true;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") {
        this.status.textContent = "stopped";
      } else {
        this.status.textContent = "failed";
        this.body.append(make("span", "error", error instanceof ApiError ? error.message : `the server cannot be reached (${String(error)})`));
      }
      return false;
    } finally {
      this.element.removeAttribute("aria-busy");
      if (!this.text && !this.body.hasChildNodes()) {
        this.body.append(make("span", "hint", "no text"));
      }
    }
  }

  /** Marks where this text parts from the other one. */
  markDifference(other: string): void {
    let same = 0;
    while (same < this.text.length && this.text[same] === other[same]) {
      same++;
    }
    // Back to the beginning of the word, so that no word is half marked.
    while (same > 0 && same < this.text.length && /\S/.test(this.text[same - 1] ?? "")) {
      same--;
    }
    if (same < this.text.length) {
      this.body.replaceChildren(this.text.slice(0, same), make("mark", "", this.text.slice(same)));
    }
  }
}

function speed(tokensPerSecond: number): string {
  return `${tokensPerSecond < 10 ? tokensPerSecond.toFixed(1) : Math.round(tokensPerSecond)} tokens/s`;
}
