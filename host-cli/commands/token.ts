import type { NewToken } from "../../shared/api/schemas.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { TokenCommand } from "../command.ts";
import type { Context } from "../context.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";
import { Transcript } from "../transcript.ts";

/** `token list|create|revoke` */
export async function token(command: TokenCommand, context: Context): Promise<void> {
  const { action, style } = command;
  const { output } = context;
  const transcript = new Transcript(output, style);
  using manager = await openNeededManager(command, context);
  switch (action.type) {
    case "list":
      await list(manager, command, context);
      return;
    case "create": {
      const { user, label = "", expiresInMs } = action;
      const body: NewToken = { user, label, ...(expiresInMs !== undefined && { expiresInMs }) };
      const created = await manager.change("createToken", { body });
      transcript.say(`Token ${created.id} of '${created.user}' made. It is shown this once:`, created.token);
      if (style === "json") output.json(created);
      if (style === "quiet") output.line(created.token);
      return;
    }
    case "revoke":
      await manager.change("revokeToken", { params: { id: action.id } });
      transcript.say(`Token ${action.id} revoked.`);
      if (style === "json") output.json({ id: action.id, revoked: true });
      return;
    default:
      unreachable(action);
  }
}

async function list(manager: Manager, { style }: TokenCommand, { output }: Context): Promise<void> {
  const { tokens } = await manager.read("listTokens");
  printListing(output, style, {
    items: tokens,
    header: ["ID", "USER", "LABEL", "MADE", "LAST USED", "EXPIRES"],
    row: ({ id, user, label, createdAt, lastUsedAt, expiresAt = "" }) => {
      const used = lastUsedAt === undefined ? "never" : agoInWords(lastUsedAt);
      return [id, user, label, agoInWords(createdAt), used, expiresAt];
    },
    name: ({ id }) => id,
    json: { tokens },
    none: "there are no tokens",
  });
}
