import { answer, type Message, type Model, type Settings, type Steering } from "./api";
import { AnswerCard } from "./answer";
import { make } from "./dom";
import { effectsDetails } from "./effects";

/**
 * A conversation led twice: with the vectors and without. Both sides get the same questions and each remembers its own answers, so that the unsteered side
 * stays what the model would have said all along.
 */
export class Chat {
  private steered: Message[] = [];
  private plain: Message[] = [];
  private running: AbortController | null = null;

  constructor(
    private readonly model: Model,
    private readonly list: HTMLElement,
  ) {}

  get isRunning(): boolean {
    return this.running !== null;
  }

  reset(): void {
    this.stop();
    this.steered = [];
    this.plain = [];
    this.list.replaceChildren();
  }

  stop(): void {
    this.running?.abort();
  }

  /** Asks both sides at the same time: the server answers them in one batch. */
  async ask(question: string, steering: Steering[], settings: Settings, compare: boolean): Promise<void> {
    const controller = (this.running = new AbortController());
    const user: Message = { role: "user", content: question };
    const steeredCard = new AnswerCard(steering.length > 0 ? `Steered: ${steering.map((s) => `${s.vector} ${s.strength}`).join(", ")}` : "Steered (all vectors at 0)", true);
    const plainCard = compare ? new AnswerCard("Unsteered", false) : null;
    const cards = make("div", compare ? "answers two" : "answers", ...(plainCard ? [plainCard.element] : []), steeredCard.element);
    const turn = make("li", "turn", make("p", "question", question), cards);
    this.list.append(turn);
    turn.scrollIntoView({ block: "nearest" });
    try {
      await Promise.all([
        this.side(this.steered, user, steering, settings, steeredCard, controller.signal),
        plainCard ? this.side(this.plain, user, [], settings, plainCard, controller.signal) : undefined,
      ]);
      if (plainCard && steeredCard.text && plainCard.text) {
        steeredCard.markDifference(plainCard.text);
      }
      if (steering.length > 0 && steeredCard.text && this.model.chat) {
        steeredCard.element.append(effectsDetails([...this.steered], steering));
      }
    } finally {
      this.running = null;
    }
  }

  private async side(history: Message[], user: Message, steering: Steering[], settings: Settings, card: AnswerCard, signal: AbortSignal): Promise<void> {
    await card.show(answer(this.model, [...history, user], steering, settings, signal));
    if (card.text) {
      history.push(user, { role: "assistant", content: card.text }); // a question without an answer is taken back
    }
  }
}
