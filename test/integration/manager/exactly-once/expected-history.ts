/** What a guest's cache is to go through when each of these messages has one effect, in this order. */
import type { NewMessage } from "../../../../shared/api/schemas.ts";
import { type CacheState, distinct, EMPTY } from "./recorded-agent.ts";

/** A message under an id that its sender chose. */
export type SentMessage = NewMessage & { params: { messageId: string } };

/** As an agent's record of its history tells it. */
export function historyAfter(messages: readonly SentMessage[]): CacheState[] {
  return distinct([EMPTY, ...statesAfter(messages)]);
}

/** The state after each of them. */
export function statesAfter(messages: readonly SentMessage[]): CacheState[] {
  let state = EMPTY;
  return messages.map((message) => {
    state = stateAfter(state, message);
    return state;
  });
}

/** Every change counts the revision up by one, except a deletion of nothing. */
function stateAfter({ revision, keys }: CacheState, message: SentMessage): CacheState {
  const { messageId } = message.params;
  switch (message.method) {
    case "set": {
      const set = message.params.entries.map(({ key, value, secret }) => {
        return [key, { value: secret === true ? undefined : value, messageId }] as const;
      });
      return { revision: revision + 1, keys: { ...keys, ...Object.fromEntries(set) } };
    }
    case "delete": {
      const { keys: deleted } = message.params;
      const kept = Object.entries(keys).filter(([key]) => !deleted.includes(key));
      return without({ revision, keys }, kept);
    }
    case "clear":
      return without({ revision, keys }, []);
  }
}

function without({ revision, keys }: CacheState, kept: [string, CacheState["keys"][string]][]): CacheState {
  const isChanged = kept.length < Object.keys(keys).length;
  return { revision: revision + (isChanged ? 1 : 0), keys: Object.fromEntries(kept) };
}
