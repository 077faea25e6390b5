// A list inside a form, such as further disks: each row has the same fields, and can go again.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useTranslation } from "react-i18next";
import type { Draft } from "../logic/draft";
import { Fields, type Field } from "./fields";

interface RowsProps {
  /** Where the list is in the request: `disks`. */
  path: string;
  /** What one row is called, with its number: "Disk 2". */
  nameOf(index: number): string;
  fields: Field[] | ((row: Draft) => Field[]);
  rows: Draft[];
  change(rows: Draft[]): void;
  error: unknown;
  addLabel: string;
  fresh?: Draft;
  columns?: number;
  /** Rows of the request before these, such as the boot disk. */
  offset?: number;
}

export function Rows({ path, nameOf, fields, rows, change, error, addLabel, fresh = {}, columns = 3, offset = 0 }: RowsProps) {
  const { t } = useTranslation();
  return (
    <SpaceBetween size="s">
      {rows.map((row, index) => (
        <div key={index} role="group" aria-label={nameOf(index)} className="nano-row">
          <div>
            <Fields
              fields={typeof fields === "function" ? fields(row) : fields}
              draft={row}
              change={(part) => change(rows.map((other, position) => (position === index ? { ...other, ...part } : other)))}
              error={error}
              columns={columns}
              prefix={`${path}[${index + offset}].`}
            />
          </div>
          <Box padding={{ top: "xl" }}>
            <Button
              variant="icon"
              iconName="remove"
              formAction="none"
              ariaLabel={t("remove", { name: nameOf(index) })}
              onClick={() => change(rows.filter((_, position) => position !== index))}
            />
          </Box>
        </div>
      ))}
      <Button iconName="add-plus" formAction="none" onClick={() => change([...rows, fresh])}>
        {addLabel}
      </Button>
    </SpaceBetween>
  );
}
