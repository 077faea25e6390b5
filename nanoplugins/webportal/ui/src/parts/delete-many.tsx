// Asks before things are deleted, then tells how each went.
import { useTranslation } from "react-i18next";
import { del } from "../api/client";
import { asProblem } from "../api/problem";
import { isOperation } from "../app/follow";
import { problemOf, waitFor } from "../app/flashes";
import { runEach } from "../logic/bulk";
import { Many, type Named } from "./many";

const WIDTH = 4;

interface DeleteManyProps<T extends Named> {
  items: T[];
  title: string;
  text: string;
  path(item: T): string;
  onClose(hasChanged: boolean): void;
}

export function DeleteMany<T extends Named>({ items, title, text, path, onClose }: DeleteManyProps<T>) {
  const { t } = useTranslation();
  return (
    <Many
      title={title}
      label={t("delete")}
      items={items}
      before={
        <>
          <ul>
            {items.map((item) => (
              <li key={item.id}>{item.name}</li>
            ))}
          </ul>
          {text}
        </>
      }
      run={(wanted, tell) =>
        runEach(wanted, WIDTH, async (item) => {
          try {
            const answer = await del(path(item));
            const problem = isOperation(answer) ? problemOf(await waitFor(answer)) : null;
            tell(item.id, problem ?? "done");
          } catch (error) {
            tell(item.id, asProblem(error));
          }
        })
      }
      onClose={onClose}
    />
  );
}
