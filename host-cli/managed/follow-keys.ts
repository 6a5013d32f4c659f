/** A watch through the manager, which goes on where it was when the connection to the manager is lost. */
import { pause } from "../../shared/abort.ts";
import type { VmSummary } from "../../shared/api/schemas.ts";
import type { Cursor } from "../../shared/protocol/message.ts";
import type { Changed } from "../guest.ts";
import { awayInWords } from "../origin.ts";
import { ManagerLostError } from "./connect.ts";
import type { Manager } from "./manager.ts";

/** Between a lost connection and the next: a manager is restarted in about this time. */
const RESUME_PAUSE_MS = 1_000;

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
  const place: Place = { since: following.since, isUp: true, hasBegun: false };
  takeLink(following.vm, place, note);
  for (let isLost = false; ;) {
    try {
      for await (const event of manager.stream("watchKeys", asked(following, place), signal)) {
        if (isLost) note("the manager is back; going on where the watch was");
        isLost = false;
        place.hasBegun = true;
        if (event.event === "link") takeLink(event.data, place, note);
        else await takeBatch(event.data, place, following);
      }
    } catch (error) {
      if (!(error instanceof ManagerLostError) || signal.aborted || !place.hasBegun) throw error;
    }
    if (!isLost) note("the connection to the manager was lost; trying again");
    isLost = true;
    await pause(RESUME_PAUSE_MS, signal);
  }
}

interface Place {
  since: Cursor | undefined;
  isUp: boolean;
  hasBegun: boolean;
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
