/**
 * What one notification tells: every failure of its VM and event that was there when it was sent. The instance is recovered
 * from all of them, and another notification would only recover it once more.
 *
 * Failures are known by their positions in the log. Nothing of this is kept over a restart: one may then be told once more,
 * after the window.
 */
import { type Failure, payloadOf } from "./notification.ts";
import { putNewest } from "./newest.ts";

type Payload = Pick<Failure, "vmId" | "event">;

export class ToldTogether {
  readonly #lastSeen = new Map<string, number>();
  readonly #toldUpTo = new Map<string, number>();

  /** There is such a failure. */
  see(payload: Payload, position: number): void {
    putNewest(this.#lastSeen, payloadOf(payload), Math.max(position, this.lastSeen(payload)));
  }

  /** What a notification that is sent now tells of. */
  lastSeen(payload: Payload): number {
    return this.#lastSeen.get(payloadOf(payload)) ?? 0;
  }

  /** Masakari took one as new that was sent when this was the last. */
  tell(payload: Payload, lastSeen: number): void {
    putNewest(this.#toldUpTo, payloadOf(payload), lastSeen);
  }

  has(payload: Payload, position: number): boolean {
    return position <= (this.#toldUpTo.get(payloadOf(payload)) ?? 0);
  }
}
