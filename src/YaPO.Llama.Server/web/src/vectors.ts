import type { Steering, Vector } from "./api";
import { featureBars } from "./bars";
import { make } from "./dom";

const shownFeatures = 10;

/** One slider per vector. */
export class VectorPanel {
  private readonly rows: VectorRow[];

  constructor(container: HTMLElement, vectors: Vector[], standard: { vector: string; strength?: number }[]) {
    this.rows = vectors.map((vector) => {
      const preset = standard.find((s) => s.vector === vector.id);
      return new VectorRow(vector, preset ? (preset.strength ?? vector.strength.default) : 0);
    });
    container.replaceChildren(...this.rows.map((row) => row.element));
  }

  /** What a request is to carry: every vector that is not at 0. */
  steering(positions: string): Steering[] {
    return this.rows.filter((row) => row.strength !== 0).map((row) => ({ vector: row.id, strength: row.strength, ...(positions ? { positions } : {}) }));
  }

  allToZero(): void {
    this.rows.forEach((row) => row.set(0));
  }

  /** Turns the first vector up to its own strength, so that a first question shows something. */
  startWithFirst(): void {
    if (this.rows.every((row) => row.strength === 0)) {
      this.rows[0]?.useDefault();
    }
  }
}

class VectorRow {
  readonly element: HTMLElement;
  readonly id: string;
  private readonly slider: HTMLInputElement;
  private readonly number: HTMLInputElement;
  private readonly usual: HTMLButtonElement;

  constructor(
    private readonly vector: Vector,
    strength: number,
  ) {
    this.id = vector.id;
    const { least, most } = range(vector);
    const step = most - least > 4 ? 0.1 : 0.05;
    this.slider = input("range", least, most, step, `Strength of ${vector.id}`);
    this.number = input("number", vector.strength.least, vector.strength.most, step, `Strength of ${vector.id}, exactly`);
    this.number.inputMode = "decimal";
    this.slider.addEventListener("input", () => this.set(this.slider.valueAsNumber));
    this.number.addEventListener("change", () => this.set(Number.isFinite(this.number.valueAsNumber) ? this.number.valueAsNumber : 0));
    this.usual = make("button", "quiet small", `use ${round(vector.strength.default)}`);
    this.usual.type = "button";
    this.usual.title = "The strength that comes with the vector";
    this.usual.addEventListener("click", () => this.useDefault());
    const meaning = vector.positive_means || vector.description;
    this.element = make(
      "article",
      "vector",
      make("div", "row", make("h3", "", vector.id), this.usual, this.number),
      this.slider,
      ...(meaning ? [make("p", "hint", `+ ${meaning}`)] : []),
      this.details(),
    );
    this.set(strength);
  }

  get strength(): number {
    return this.number.valueAsNumber;
  }

  set(value: number): void {
    const { least, most } = this.vector.strength;
    const kept = round(Math.min(most, Math.max(least, value)));
    this.number.value = String(kept);
    this.slider.value = String(kept);
    this.element.classList.toggle("on", kept !== 0);
    this.element.classList.toggle("below", kept < 0);
    this.usual.hidden = kept === round(this.vector.strength.default);
    this.fill(kept);
  }

  useDefault(): void {
    this.set(this.vector.strength.default);
  }

  /** Colours the slider from 0 to where it stands. */
  private fill(value: number): void {
    const [min, max] = [Number(this.slider.min), Number(this.slider.max)];
    const share = (x: number): number => Math.min(1, Math.max(0, (x - min) / (max - min)));
    this.slider.style.setProperty("--zero", String(share(0)));
    this.slider.style.setProperty("--from", String(share(Math.min(0, value))));
    this.slider.style.setProperty("--to", String(share(Math.max(0, value))));
  }

  private details(): HTMLElement {
    const details = make("details", "", make("summary", "", "What it changes"));
    for (const part of this.vector.vectors) {
      const what = part.kind === "sparse" ? `${part.support} features of ${part.sae?.width ?? "an SAE's"}` : "one direction";
      const clipped = part.kind === "sparse" ? `, ${round(100 * part.negative_mass)} % of it turned down` : "";
      details.append(make("p", "hint", `After block ${part.layer}: ${what}${clipped}.`));
      if (part.features) {
        details.append(
          featureBars(
            part.features.slice(0, shownFeatures).map((f) => ({
              name: f.label ?? `feature ${f.index}`,
              value: f.value,
              title: `feature ${f.index}${f.rate === undefined ? "" : `, active on ${round(100 * f.rate)} % of tokens`}`,
            })),
          ),
        );
      }
    }
    return details;
  }
}

/** The slider reaches as far down as up, and a little beyond what is sensible, within the server's limits. */
function range(vector: Vector): { least: number; most: number } {
  const s = vector.strength;
  const reach = 2 * Math.max(Math.abs(s.sensible_most ?? 0), Math.abs(s.sensible_least ?? 0), Math.abs(s.default), 0.5);
  return { least: Math.max(s.least, -reach), most: Math.min(s.most, reach) };
}

function input(type: string, min: number, max: number, step: number, label: string): HTMLInputElement {
  const element = make("input", "");
  element.type = type;
  element.min = String(min);
  element.max = String(max);
  element.step = String(step);
  element.setAttribute("aria-label", label);
  return element;
}

function round(x: number): number {
  return Math.round(x * 100) / 100;
}
