import { Exact } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { route } from './route.ts';

/**
 * How an attester can be reached, which says nothing of whether it is well: `reachable`; `slow`: its TPM is at work on a
 * quote; `rebooting`: it said so; `updating`: it runs by an update that the policy announces; `unreachable`.
 */
export const Reachability = Type.Union([
  Type.Literal('reachable'),
  Type.Literal('slow'),
  Type.Literal('rebooting'),
  Type.Literal('updating'),
  Type.Literal('unreachable'),
]);
export type Reachability = Static<typeof Reachability>;

/** What an attester does that keeps it from showing evidence. Its own word: it changes no state. */
export const attesterActivity = route({
  method: 'POST',
  path: '/v1/activity',
  access: ['attester'],
  summary: 'Say why no evidence comes: a quote takes long, the machine goes down, the agent ends',
  body: Exact({
    doing: Type.Union([Type.Literal('quoting'), Type.Literal('rebooting'), Type.Literal('ending')]),
  }),
  reply: Exact({}),
});
