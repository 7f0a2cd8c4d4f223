import { resourcesOf, type Template } from '#test/cloud/synthesised';

/** Takes something away from the policies of templates, to see who misses it. Throws when there was nothing to take. */

export type Amendment = (templates: ReadonlyMap<string, Template>) => void;

interface Statement {
  Action: string | string[];
  Principal?: { Service?: string };
  Condition?: Record<string, Record<string, unknown>>;
}

interface Document {
  Statement: Statement[];
}

/** Actions, of the roles whose policy's logical id begins so. */
export function without(role: string, ...actions: readonly string[]): Amendment {
  return (templates) => {
    const documents = properties(templates, 'AWS::IAM::Policy', role).map((one) => one['PolicyDocument'] as Document);
    for (const action of actions) {
      const having = documents.flatMap(({ Statement }) =>
        Statement.filter((one) => [one.Action].flat().includes(action)),
      );
      if (having.length === 0) throw new Error(`${role} has no ${action}`);
      // Something that nobody asks for stands in its place: no action at all would be no policy.
      for (const one of having)
        one.Action = [one.Action].flat().map((old) => (old === action ? 'sts:GetSessionToken' : old));
    }
  };
}

/** What a service may by a policy of the resource itself: of a key, a topic, a queue. */
export function withoutService(type: string, service: string): Amendment {
  return (templates) => {
    let taken = 0;
    for (const one of properties(templates, type, '')) {
      const document = (one['PolicyDocument'] ?? one['KeyPolicy']) as Document;
      const kept = document.Statement.filter(({ Principal }) => Principal?.Service !== service);
      taken += document.Statement.length - kept.length;
      document.Statement = kept;
    }
    if (taken === 0) throw new Error(`no ${type} lets ${service} do anything`);
  };
}

/** A property of each resource of a type, by its logical id's beginning. */
export function withProperty(type: string, id: string, name: string, value: unknown): Amendment {
  return (templates) => {
    for (const one of properties(templates, type, id)) one[name] = value;
  };
}

/** A condition of the statements of roles' policies that allow an action. */
export function withCondition(role: string, action: string, condition: Statement['Condition']): Amendment {
  return (templates) => {
    for (const one of properties(templates, 'AWS::IAM::Policy', role))
      for (const statement of (one['PolicyDocument'] as Document).Statement)
        if ([statement.Action].flat().includes(action)) Object.assign(statement, { Condition: condition });
  };
}

function properties(templates: ReadonlyMap<string, Template>, type: string, id: string): Record<string, unknown>[] {
  const found = [...templates.values()].flatMap((template) =>
    resourcesOf(template, type).filter(([name]) => name.startsWith(id)),
  );
  if (found.length === 0) throw new Error(`no ${type} ${id}`);
  return found.map(([, resource]) => resource.Properties as Record<string, unknown>);
}
