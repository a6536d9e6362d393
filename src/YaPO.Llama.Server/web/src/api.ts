import { readEvents } from "./sse";

/** A vector as /v1/steering/vectors shows it. */
export interface Vector {
  id: string;
  description?: string;
  positive_means?: string;
  method?: string;
  positions: string;
  strength: { default: number; least: number; most: number; sensible_least?: number; sensible_most?: number };
  vectors: VectorPart[];
}

export interface VectorPart {
  name: string;
  kind: "sparse" | "dense";
  layer: number;
  support?: number;
  negative_mass: number;
  sae?: { name: string; width: number };
  features?: Feature[];
}

/** An entry of a sparse vector: which feature of the SAE, how far it is turned. */
export interface Feature {
  index: number;
  value: number;
  rate?: number;
  label?: string;
}

export interface Model {
  id: string;
  context_length: number;
  chat: boolean;
}

export interface Message {
  role: "user" | "assistant";
  content: string;
}

export interface Steering {
  vector: string;
  strength: number;
  positions?: string;
}

export interface Settings {
  temperature: number;
  max_tokens: number;
  seed: number;
}

/** What happens to an answer. */
export type AnswerEvent = { text: string } | { finish: string; tokensPerSecond: number };

/** The server said no. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const keyName = "yapo-api-key";

export function useKey(key: string): void {
  sessionStorage.setItem(keyName, key);
}

function headers(): Record<string, string> {
  const key = sessionStorage.getItem(keyName);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function check(response: Response): Promise<Response> {
  if (response.ok) {
    return response;
  }
  const body: unknown = await response.json().catch(() => null);
  const error = (body as { error?: { message?: string } } | null)?.error;
  throw new ApiError(response.status, error?.message ?? `the server answered ${response.status}`);
}

async function get<T>(path: string): Promise<T> {
  const response = await check(await fetch(path, { headers: headers() }));
  return (await response.json()) as T;
}

export async function loadModel(): Promise<Model> {
  const first = (await get<{ data: Model[] }>("v1/models")).data[0];
  if (!first) {
    throw new ApiError(500, "the server has no model");
  }
  return first;
}

export async function loadVectors(): Promise<{ vectors: Vector[]; standard: { vector: string; strength?: number }[] }> {
  const list = await get<{ data: Vector[]; default: { vector: string; strength?: number }[] }>("v1/steering/vectors");
  return { vectors: list.data, standard: list.default };
}

/** What vectors that act together do to a conversation. */
export interface Effect {
  names: string[];
  layer: number;
  steered_tokens: number;
  relative_change: number;
  active_features: number;
  features: { index: number; value: number; firing: number; mean_change: number; label?: string }[];
}

/** Measures which features are active in a conversation and what the vectors change. */
export async function loadEffects(messages: Message[], steering: Steering[]): Promise<Effect[]> {
  const response = await check(
    await fetch("v1/steering/effects", {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json" },
      body: JSON.stringify({ messages, steering }),
    }),
  );
  return ((await response.json()) as { data: Effect[] }).data;
}

interface Chunk {
  choices: { delta?: { content?: string }; text?: string; finish_reason: string | null }[];
  timings?: { tokens_per_second: number };
  error?: { message: string };
}

/** Streams an answer; a model without a chat template continues the text of the last message. */
export async function* answer(model: Model, messages: Message[], steering: Steering[], settings: Settings, signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  const input = model.chat ? { messages } : { prompt: messages.at(-1)?.content ?? "" };
  const response = await check(
    await fetch(model.chat ? "v1/chat/completions" : "v1/completions", {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json" },
      body: JSON.stringify({ ...input, ...settings, steering, stream: true }),
      signal,
    }),
  );
  for await (const data of readEvents(response)) {
    if (data === "[DONE]") {
      return;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) {
      throw new ApiError(response.status, chunk.error.message);
    }
    const choice = chunk.choices[0];
    const text = choice?.delta?.content ?? choice?.text ?? "";
    if (text) {
      yield { text };
    }
    if (choice?.finish_reason) {
      yield { finish: choice.finish_reason, tokensPerSecond: chunk.timings?.tokens_per_second ?? 0 };
    }
  }
  throw new ApiError(0, "the connection ended before the answer did");
}
