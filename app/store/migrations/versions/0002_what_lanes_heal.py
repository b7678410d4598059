"""What lanes did to heal, what their storages hold, which calls came in"""

import sqlalchemy as sa
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('lanes', sa.Column('recoveries', sa.JSON(), nullable=True))
    op.add_column('lanes', sa.Column('storages', sa.JSON(), nullable=True))
    op.add_column('lanes', sa.Column('calls', sa.BigInteger(), nullable=False, server_default='0'))


def downgrade() -> None:
    with op.batch_alter_table('lanes', schema=None) as batch_op:
        batch_op.drop_column('calls')
        batch_op.drop_column('storages')
        batch_op.drop_column('recoveries')
