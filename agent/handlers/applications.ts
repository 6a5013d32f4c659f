/** The health of applications, as programs in the guest report it and people there look after it. */
import type { Handler } from "./context.ts";

export const beat: Handler<"beat"> = async (params, { access, applications }) => {
  access.assertMayBeatFor(params.application);
  await applications.beat(params, access.owner);
  return {};
};

export const addCheck: Handler<"addCheck"> = async (params, { applications }) => {
  await applications.addCheck(params);
  return {};
};

export const dismiss: Handler<"dismiss"> = async ({ application }, { access, applications }) => {
  access.assertMayDismiss(application, applications.kindOf(application));
  await applications.dismiss(application);
  return {};
};

/** Those whose names the asker may use, in the order of their names. */
export const listApplications: Handler<"applications"> = (_params, { access, applications }) => {
  const all = applications.list().filter(({ name }) => access.mayTouch(name));
  return { applications: all.sort((one, other) => (one.name < other.name ? -1 : 1)) };
};
