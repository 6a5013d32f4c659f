/** The word of a program in the guest that it has acted on a message (`agent --ack`). */
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Params } from "../../shared/protocol/message.ts";
import type { Request } from "../../shared/protocol/session.ts";

export class Acknowledgement {
  readonly #messageId: string;
  readonly #received = Promise.withResolvers<Params<"acknowledge">>();

  constructor(messageId: string) {
    this.#messageId = messageId;
  }

  /** What to greet the agent with: it delivers this acknowledgement and keeps all others for their owners. */
  get greeting() {
    return {
      hello: { accepts: ["acknowledge" as const], acknowledgeOf: this.#messageId },
      answer: (request: Request) => this.#take(request),
    };
  }

  get received(): Promise<Params<"acknowledge">> {
    return this.#received.promise;
  }

  #take({ method, params }: Request): Promise<unknown> {
    if (method !== "acknowledge" || params.of !== this.#messageId) {
      return Promise.reject(new RequestError("not-permitted", "only the acknowledgement of one message is taken here"));
    }
    this.#received.resolve(params);
    return Promise.resolve({});
  }
}
