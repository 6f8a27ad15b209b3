import { Exact } from '@kallio/codec';
import { route } from '@kallio/protocol';
import { createApp, type Principal, serve } from '@kallio/protocol/serve';
import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';

const thing = route({
  method: 'POST',
  path: '/things/:n',
  access: ['operator'],
  summary: 'A thing',
  params: Exact({ n: Type.Integer({ minimum: 0 }) }),
  body: Exact({ name: Type.String(), size: Type.Optional(Type.Integer()) }),
  reply: Exact({ n: Type.Integer(), name: Type.String() }),
});

function app(principal: Principal = { kind: 'token', name: 't', role: 'operator' }) {
  const instance = createApp({ bodyLimit: 1024 });
  serve(
    instance,
    thing,
    () => principal,
    ({ params, body }) => {
      if (body.name === 'boom') throw new Error('secret detail');
      return { n: params.n, name: body.name };
    },
  );
  return instance;
}

async function post(instance: ReturnType<typeof app>, payload: string, url = '/things/7') {
  const answer = await instance.inject({
    method: 'POST',
    url,
    payload,
    headers: { 'content-type': 'application/json' },
  });
  return { status: answer.statusCode, json: answer.json(), text: answer.body };
}

describe('a served route', () => {
  it('hands validated parts to the handler, the path parameter as a number', async () => {
    expect(await post(app(), '{"name":"a"}')).toMatchObject({ status: 200, json: { n: 7, name: 'a' } });
  });

  it.each([
    ['an unknown field', '{"name":"a","x":1}', 400, 'REQUEST_INVALID'],
    ['a number given as text in a body', '{"name":"a","size":"7"}', 400, 'REQUEST_INVALID'],
    ['a duplicate key', '{"name":"a","name":"b"}', 400, 'JSON_DUPLICATE_KEY'],
    ['something after the value', '{"name":"a"} x', 400, 'JSON_SYNTAX'],
    ['a body over the limit', `{"name":"${'a'.repeat(2000)}"}`, 413, 'REQUEST_TOO_LARGE'],
    ['an empty body', '', 400, 'REQUEST_INVALID'],
  ])('refuses %s with a code', async (_, payload, status, code) => {
    const answer = await post(app(), payload);
    expect(answer.status).toBe(status);
    expect(answer.json.error.code).toBe(code);
  });

  it('never shows what broke inside', async () => {
    const answer = await post(app(), '{"name":"boom"}');
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('secret');
  });

  it.each([
    [{ kind: 'anonymous' }, 401],
    [{ kind: 'token', name: 't', role: 'viewer' }, 403],
    [{ kind: 'attester', attester: 'a' }, 403],
    [{ kind: 'token', name: 't', role: 'admin' }, 200],
  ] as const)('answers %o with %d', async (principal, status) => {
    expect((await post(app(principal), '{"name":"a"}')).status).toBe(status);
  });
});
