/** A watch through the manager, which goes on where it was when the connection to the manager is lost. */
import type { VmSummary } from "../../shared/api/schemas.ts";
import type { Cursor } from "../../shared/protocol/message.ts";
import type { Changed } from "../guest.ts";
import { awayInWords } from "../origin.ts";
import type { Manager } from "./manager.ts";
import { resumedStream } from "./resumed-stream.ts";

export interface Following {
  vm: VmSummary;
  prefix: string;
  since: Cursor | undefined;
  /** Awaited before more is read from the manager. */
  changed: (batch: Changed) => Promise<void>;
  note: (text: string) => void;
  signal: AbortSignal;
}

/** Rejects with ManagerLostError when there is no manager at the start, or when the signal ends it. */
export async function followKeys(manager: Manager, following: Following): Promise<never> {
  const { note, signal } = following;
  const place: Place = { since: following.since, isUp: true };
  takeLink(following.vm, place, note);
  const stream = resumedStream(manager, "watchKeys", () => asked(following, place), { note, signal });
  for (;;) {
    const { value: event } = await stream.next();
    if (event.event === "link") takeLink(event.data, place, note);
    else await takeBatch(event.data, place, following);
  }
}

interface Place {
  since: Cursor | undefined;
  isUp: boolean;
}

function asked({ vm, prefix }: Following, { since }: Place) {
  return {
    params: { vm: vm.id },
    query: { prefix, since: since === undefined ? undefined : `${since.epoch}:${since.revision}` },
  };
}

async function takeBatch(batch: Changed, place: Place, { changed }: Following): Promise<void> {
  await changed(batch);
  if (!batch.more) place.since = { epoch: batch.epoch, revision: batch.revision };
}

function takeLink(vm: VmSummary, place: Place, note: (text: string) => void): void {
  const isUp = vm.link.state === "up";
  if (isUp && !place.isUp) note(`'${vm.name}' answers again`);
  if (!isUp && place.isUp) note(awayInWords(vm));
  place.isUp = isUp;
}
