/** Answers to managers that may ask as often as they like, or as often as somebody sends again what they asked. */

/** Each answer is a whole list, sealed: milliseconds of work for a host with thousands of VMs. Not measured. */
const PACE_MS = 1_000;

/** Whoever is asked by more in one second answers those that came first. Not measured. */
const MAX_ASKING = 1_000;

interface Pace<Asked> {
  timer: NodeJS.Timeout;
  due: Asked | undefined;
}

export class PacedAnswers<Asked> {
  readonly #answer: (peerId: string, asked: Asked) => void;
  readonly #together: (earlier: Asked, later: Asked) => Asked;
  /** Of those that were answered within the last second. */
  readonly #paces = new Map<string, Pace<Asked>>();

  /** @param together what is answered for two that came while one answer was due */
  constructor(answer: (peerId: string, asked: Asked) => void, together: (earlier: Asked, later: Asked) => Asked) {
    this.#answer = answer;
    this.#together = together;
  }

  /** Answered at once, or when a second has passed since the last answer to that manager. */
  ask(peerId: string, asked: Asked): void {
    const pace = this.#paces.get(peerId);
    if (pace !== undefined) pace.due = pace.due === undefined ? asked : this.#together(pace.due, asked);
    else if (this.#paces.size < MAX_ASKING) this.#answerNow(peerId, asked);
  }

  /** What is due is not answered. */
  clear(): void {
    for (const { timer } of this.#paces.values()) clearTimeout(timer);
    this.#paces.clear();
  }

  #answerNow(peerId: string, asked: Asked): void {
    const timer = setTimeout(() => {
      const due = this.#paces.get(peerId)?.due;
      this.#paces.delete(peerId);
      if (due !== undefined) this.#answerNow(peerId, due);
    }, PACE_MS);
    this.#paces.set(peerId, { timer, due: undefined });
    this.#answer(peerId, asked);
  }
}
